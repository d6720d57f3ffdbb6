"""What happens to runs, budgets and the house, told to other systems: an outbox, and who empties it."""
