"""Confidence in answers, and whether the documents say what was asked."""
