"""The rows by which DBOS promises the stretches of runs, as far as they are deleted without DBOS: it need not be
installed where a person is erased. What DBOS itself does with them is in `serving/execution/engine.py`.

The id of a row is ``QUEUE:RUN``, with ``@MOMENT`` after it for what follows an interrupt and ``/deadline`` for its
timer. A queue is the name of its workflow, or ``WORKFLOW+PACKAGES``.
"""

from collections.abc import Collection
from typing import Any

from sluicegate.storage.postgres import Server

__all__ = ["ACTIVE", "forget_promises", "of_workflow", "promises_schema", "prune_promises"]

ACTIVE = ("PENDING", "ENQUEUED", "DELAYED")
"""The status of a row whose promise is not kept yet."""

_TABLES = ("workflow_input", "workflow_output", "operation_outputs", "workflow_status")
"""The last one takes with it, by foreign keys, events, streams and messages; the others have no keys."""
_RUN = r"regexp_replace(substr(workflow_uuid, strpos(workflow_uuid, ':') + 1), '@[^@]*$', '')"
"""The run of a row."""


def promises_schema(connection: Any) -> str:
    """The schema that has the tables of DBOS, beside the schema of `connection`, whose rows are dictionaries."""
    schema = connection.execute("SELECT current_schema() AS name").fetchone()["name"]
    return "dbos" if schema == "public" else f"{schema}_dbos"


def of_workflow(workflow: str) -> tuple[str, tuple[str, str]]:
    """The condition for the rows of all queues of a workflow, and its parameters."""
    return "(starts_with(workflow_uuid, %s) OR starts_with(workflow_uuid, %s))", (f"{workflow}:", f"{workflow}+")


def forget_promises(server: Server, runs: Collection[str]) -> int:
    """Delete every row of these runs, also those that promise what is still to come; how many there were. Raises
    `RunError` SG625."""
    return _delete(server, f"{_RUN} = ANY(%s)", [[*runs]]) if runs else 0


def prune_promises(server: Server, workflow: str, before: float) -> int:
    """Delete the rows of a workflow that have been over since before that time, in seconds of the Unix epoch; how many
    there were. While a service or worker lives it does so itself, after an hour. Raises `RunError` SG625."""
    ours, names = of_workflow(workflow)
    return _delete(server, f"status NOT IN {ACTIVE} AND updated_at < %s AND {ours}", [before * 1000, *names])


def _delete(server: Server, which: str, values: list[Any]) -> int:
    with server.connection() as connection, connection.transaction():
        schema = promises_schema(connection)
        there = "SELECT to_regclass(%s) IS NOT NULL AS there"
        if not connection.execute(there, (f'"{schema}".workflow_status',)).fetchone()["there"]:
            return 0  # no service has ever been on this server
        found = connection.execute(
            f'SELECT workflow_uuid FROM "{schema}".workflow_status WHERE {which} FOR UPDATE',  # noqa: S608
            values,
        )
        rows = [row["workflow_uuid"] for row in found.fetchall()]
        for table in _TABLES:
            if rows and connection.execute(there, (f'"{schema}".{table}',)).fetchone()["there"]:
                connection.execute(f'DELETE FROM "{schema}".{table} WHERE workflow_uuid = ANY(%s)', (rows,))  # noqa: S608
        return len(rows)
