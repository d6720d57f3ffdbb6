"""Approved facts: documents in, passages that the asker may read out."""
