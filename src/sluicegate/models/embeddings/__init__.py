"""Embeddings: caching, comparing embedders, and texts longer than the embedder reads."""
