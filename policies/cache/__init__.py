"""The answer cache: exact matches, or paraphrases that a verifier accepts."""
