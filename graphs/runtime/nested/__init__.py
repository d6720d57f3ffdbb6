"""Runs within runs: what a workflow that is a step of another one needs at run time."""
