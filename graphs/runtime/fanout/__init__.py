"""Parts of a run that are worked on side by side."""
