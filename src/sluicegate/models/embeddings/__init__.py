"""Vectors of texts: kept, compared, and of texts longer than the embedder reads."""
