"""Prompt injection: disguises taken off, steering found and weighed."""
