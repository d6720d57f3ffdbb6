"""OpenAI's API over a workflow: the models, Chat Completions and Responses, as its clients call them unmodified.

A workflow is a model, a call of it a run. Who may ask, what is answered and what it costs is decided as for every other
run; `operations.OPENAI` is the list that routes and document are made of.
"""
