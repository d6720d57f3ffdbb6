"""A node kind, a tool and a guard for Sluicegate, found by the entry points in `pyproject.toml`."""
