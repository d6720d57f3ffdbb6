"""Confidence in answers, and answerability by the documents."""
