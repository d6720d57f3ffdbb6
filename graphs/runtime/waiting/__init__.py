"""What a run waits for, and what it may go on with."""
