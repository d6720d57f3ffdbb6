"""Prompt injection: removing disguises, finding and scoring steering."""
