"""The kinds of node, and what they share: the one way to a model, prompts, tools."""
