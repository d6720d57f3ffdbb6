"""Reads many runs of the store: which ones, a page at a time, as they change, and what they cost together."""
