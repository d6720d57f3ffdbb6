"""Recovery: runs of a killed service are resumed by the first service of this home, or of this server, that sees them.

In a home the store has the running runs; where machines share a server, its table of active runs.

A run that crashes its process must not crash every process that resumes it: it is tried a few times, and then left
for a person (``sluicegate run CONFIG --run RUN``).
"""

import time

from sluicegate.graphs.runtime.run_lock import interrupted_runs
from sluicegate.observe.tracing.store import Store
from sluicegate.storage.database import Place, open_database
from sluicegate.storage.postgres import Server
from sluicegate.storage.schemas import RECOVERED

__all__ = ["Recovery"]

_TIMES = 3
_SETTLED_S = 2.0
"""A run younger than this may just be starting elsewhere."""


class Recovery:
    """Used from one thread."""

    def __init__(self, where: Place, store: Store, *, channel: str) -> None:
        self._database = open_database(where, RECOVERED)
        self._where, self._store, self._channel = where, store, channel

    def cut_short(self, workflow: str) -> list[tuple[str, str]]:
        """Run and digest of what says it is running; some of it really is, which its lock tells."""
        if isinstance(self._where, Server):
            found = interrupted_runs(self._where, workflow, self._channel)
        else:
            rows = self._store.query(
                "SELECT run_id, digest FROM runs WHERE workflow = ? AND status = 'running' AND NOT shadow "
                "AND metadata ->> 'channel' = ? AND started_ns < ? ORDER BY started_ns",
                (workflow, self._channel, time.time_ns() - int(_SETTLED_S * 1e9)),
            )
            found = [(row["run_id"], row["digest"]) for row in rows]
        with self._database.reading() as execute:
            given_up = {row["run"] for row in execute("SELECT run FROM recovered WHERE times >= ?", (_TIMES,))}
        return [(run, digest) for run, digest in found if run not in given_up]

    def begins(self, run: str) -> None:
        """Note that this run is being resumed; noted before, since it may be what kills the process."""
        with self._database.writing() as execute:
            execute(
                "INSERT INTO recovered VALUES (?, 1) ON CONFLICT (run) DO UPDATE SET times = recovered.times + 1",
                (run,),
            )

    def ends(self, run: str) -> None:
        with self._database.writing() as execute:
            execute("DELETE FROM recovered WHERE run = ?", (run,))
