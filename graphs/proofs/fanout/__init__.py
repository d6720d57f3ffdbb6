"""Branches that run side by side: their shape, what they may share, and what counts for which."""
