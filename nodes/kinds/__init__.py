"""The built-in kinds of node, one file per kind or family."""
