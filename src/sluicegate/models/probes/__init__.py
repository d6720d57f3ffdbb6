"""Small labelled probes of what a model must do in a workflow, and their results."""
