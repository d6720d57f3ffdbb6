"""Authorisation: Cedar policies, their entities, their examples and what a principal may read."""
