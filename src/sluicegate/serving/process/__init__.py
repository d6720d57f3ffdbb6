"""What makes a server of a process, or of several: its workflows, their edits, its workers."""
