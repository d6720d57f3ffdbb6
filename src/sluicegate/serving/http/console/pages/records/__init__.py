"""Pages over what is recorded: the runs, one run, and what they cost."""
