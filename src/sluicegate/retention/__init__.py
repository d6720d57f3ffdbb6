"""What is deleted from every store at once: old records, and a person."""
