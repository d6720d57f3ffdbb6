"""The built-in guards that need one file each."""
