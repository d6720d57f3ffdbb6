"""Who does the work: this process, or actors of Ray."""
