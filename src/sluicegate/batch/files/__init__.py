"""What a batch reads and writes: files of rows, the plan of its blocks, and what came out of each."""
