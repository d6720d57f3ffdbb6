"""What nodes know of budgets: the bounds of their calls, and what the calls of branches and items are paid of."""
