"""Escalation: which requests need the large model, learned from logs of both."""
