"""Stepping through a run, its history, and recorded requests through another version."""
