"""What makes a server of a process: which workflows it serves."""
