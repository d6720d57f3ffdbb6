"""What a server of before has left: runs that it had accepted and not ended, before DBOS carried them.

The last steps of the formats `RECOVERED` and `LEFT_RUNS` have put them into one table. Whoever opens a service of their
workflow first promises each of them, and takes it out.
"""

from collections.abc import Callable

from sluicegate.serving.execution.executor import Stretch
from sluicegate.serving.reading import recorded_state
from sluicegate.storage.database import PostgresDatabase
from sluicegate.storage.postgres import Server
from sluicegate.storage.schemas import LEFT_RUNS, RECOVERED

__all__ = ["take_over"]


def take_over(server: Server, workflow: str, channel: str, promise: Callable[[Stretch], bool]) -> int:
    """Promise what is left of a workflow's requests through this channel; how many were promised now. Blocks; raises
    `RunError` SG612 and SG625.

    The rows are held until they are taken out. Who comes second waits and finds none; where the first one is killed
    after a promise, the second finds that promise, and `promise` says that it was made.
    """
    PostgresDatabase(server, RECOVERED)
    promised = 0
    with PostgresDatabase(server, LEFT_RUNS).writing() as execute:
        rows = execute(
            "SELECT run, digest FROM left_runs WHERE workflow = ? AND channel IN (?, '') ORDER BY run FOR UPDATE",
            (workflow, channel),
        )
        for row in rows:
            # one that is not there was never written down, and nobody was told of it
            if state := recorded_state(row["run"]):
                began_on = state["run"]["digest"]
                other = "" if began_on == row["digest"] else began_on
                promised += promise(Stretch(row["run"], row["digest"], other))
        execute("DELETE FROM left_runs WHERE run = ANY(?)", ([row["run"] for row in rows],))
    return promised
