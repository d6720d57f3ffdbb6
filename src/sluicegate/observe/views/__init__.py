"""Traces shown to people: terminal, page, tree, and who may see them."""
