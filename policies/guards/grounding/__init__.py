"""What the guard `grounded` compares: words, numbers, days, units, and what reverses or limits a statement."""
