"""What makes a server of a process: which workflows it has, and what becomes of them while it serves."""
