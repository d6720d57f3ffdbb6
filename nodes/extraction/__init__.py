"""What a request states: whether an extracted value stands in it, as words, numbers or dates."""
