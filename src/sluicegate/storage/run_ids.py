"""The ids of runs within runs.

A child's id begins with that of the run it belongs to, however deep it lies: what is kept for that run, such as what
its placeholders stand for, is found without asking for its parents.
"""

import hashlib

__all__ = ["MARK", "child_run", "root_run"]

MARK = "~"
"""What stands between the id of a run and what tells its children apart."""


def child_run(parent: str, node: str, visit: int) -> str:
    """The id of the run that this visit of a node makes, the same whenever it is asked for."""
    told = "\0".join((parent, node, str(visit)))
    return f"{root_run(parent)}{MARK}{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def root_run(run: str) -> str:
    """The run that this one is a part of; itself when it is none."""
    return run.partition(MARK)[0]
