"""Retrieval: ingesting documents, and searching the passages that a requester may read."""
