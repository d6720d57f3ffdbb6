"""Checks of the parts of a workflow that are worked on side by side."""
