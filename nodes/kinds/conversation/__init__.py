"""The kinds of node that conversations have."""
