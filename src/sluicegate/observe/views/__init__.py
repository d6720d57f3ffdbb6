"""Views of traces: terminal, page, tree, and access to them."""
