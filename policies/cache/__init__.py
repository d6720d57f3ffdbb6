"""Answers that may be served again: exact, or by a paraphrase that a verifier accepts."""
