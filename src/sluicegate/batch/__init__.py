"""Millions of requests: a file through a workflow or a small task, by one process or by actors on many machines.

`plan` divides the input into blocks, an `Engine` has its workers do them, `work` does one and commits its output as one
Parquet file. What is committed stands; everything else is done again, by runs whose ids say which row they are.
"""
