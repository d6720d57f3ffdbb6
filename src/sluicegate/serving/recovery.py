"""Runs of a service that was killed: found in the store, taken up by whichever service of this home sees them first.

A run that brings its process down must not bring down every process that takes it up: it is tried a few times, and then
left for a person (``sluicegate run CONFIG --run RUN``).
"""

import time
from pathlib import Path

from sluicegate.observe.store import Store
from sluicegate.sqlite import connect, transaction

__all__ = ["Recovery"]

_SCHEMA = "CREATE TABLE IF NOT EXISTS recovered (run TEXT PRIMARY KEY, times INTEGER NOT NULL) WITHOUT ROWID;"
_TIMES = 3
_SETTLED_S = 2.0
"""A run as young as this may be one that is just beginning elsewhere."""


class Recovery:
    """Used from one thread."""

    def __init__(self, folder: Path, store: Store, *, channel: str) -> None:
        self._database = connect(folder / "serving.sqlite", schema=_SCHEMA)
        self._store, self._channel = store, channel

    def cut_short(self, workflow: str) -> list[tuple[str, str]]:
        """Run and digest of what says it is running; some of it really is, which its lock tells."""
        rows = self._store.query(
            "SELECT run_id, digest FROM runs WHERE workflow = ? AND status = 'running' AND NOT shadow "
            "AND metadata ->> 'channel' = ? AND started_ns < ? ORDER BY started_ns",
            (workflow, self._channel, time.time_ns() - int(_SETTLED_S * 1e9)),
        )
        given_up = {
            row["run"] for row in self._database.execute("SELECT run FROM recovered WHERE times >= ?", (_TIMES,))
        }
        return [(row["run_id"], row["digest"]) for row in rows if row["run_id"] not in given_up]

    def begins(self, run: str) -> None:
        """This run is taken up now; noted before, since it may be what kills the process."""
        with transaction(self._database) as database:
            database.execute("INSERT INTO recovered VALUES (?, 1) ON CONFLICT DO UPDATE SET times = times + 1", (run,))

    def ends(self, run: str) -> None:
        with transaction(self._database) as database:
            database.execute("DELETE FROM recovered WHERE run = ?", (run,))
