"""Models by role: providers, fallback chains, structured answers, embeddings, probes."""
