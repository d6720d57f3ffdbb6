"""Who may do what: Cedar policies, their entities, their examples and what a principal may read."""
