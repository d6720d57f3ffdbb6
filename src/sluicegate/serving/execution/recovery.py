"""What services have accepted and not ended yet, so that a killed or drained one loses nothing.

A run is written down here before its caller is told that it is accepted, and taken out when it has ended or waits for a
person. Beside it stands the service that has it, which holds a name for as long as it lives: what a service left that
lives no more is taken up by the first one of this home that sees it. Runs that version 0.1.0 left are found as it noted
them, in the store of the home.

A run that crashes its process must not crash every process that resumes it, nor be mistaken for one that was only
there: see `suspects`.
"""

import secrets
import time
from contextlib import suppress
from pathlib import Path

from sluicegate.errors import NotFoundError
from sluicegate.graphs.runtime.run_lock import Presence, present
from sluicegate.observe.tracing.store import Store
from sluicegate.serving.execution.suspects import ALONE
from sluicegate.storage.database import open_database
from sluicegate.storage.schemas import RECOVERED

__all__ = ["Recovery"]

_SETTLED_S = 2.0
"""A run younger than this may just be starting elsewhere."""


class Recovery:
    """The accepted runs, for one service. Safe to use from any thread."""

    def __init__(self, where: Path, store: Store, *, channel: str) -> None:
        self._database = open_database(where, RECOVERED)
        self._where, self._store, self._channel = where, store, channel
        self._owner = f"service-{secrets.token_hex(8)}"
        self._presence = Presence(where, self._owner)

    def accept(self, run: str, workflow: str, digest: str) -> bool:
        """Write down that this service has a run, which goes on under version `digest`; False when another one that
        lives has it."""
        with self._database.writing() as execute:
            if execute(
                "INSERT INTO accepted VALUES (?, ?, ?, ?) ON CONFLICT (run) DO NOTHING RETURNING run",
                (run, workflow, digest, self._owner),
            ):
                return True
            (row,) = execute("SELECT owner FROM accepted WHERE run = ?", (run,)) or ({"owner": ""},)
        if row["owner"] == self._owner or (row["owner"] and present(self._where, row["owner"])):
            return False
        with self._database.writing() as execute:
            return bool(
                execute(
                    "UPDATE accepted SET owner = ?, digest = ? WHERE run = ? AND owner = ? RETURNING run",
                    (self._owner, digest, run, row["owner"]),
                )
            )

    def done(self, run: str) -> None:
        """It has ended, or waits for a person, or its caller was told that it failed."""
        with self._database.writing() as execute:
            execute("DELETE FROM accepted WHERE run = ?", (run,))

    def cut_short(self, workflow: str) -> list[tuple[str, str]]:
        """Run and digest of what no other service has, as far as can be told before its lock is taken."""
        with self._database.reading() as execute:
            rows = execute("SELECT run, digest, owner FROM accepted WHERE workflow = ?", (workflow,))
            suspects = execute("SELECT run FROM recovered WHERE alone >= ?", (ALONE,))
        given_up = {row["run"] for row in suspects if self._failed(row["run"])}
        others = {row["owner"] for row in rows} - {self._owner}
        living = {owner for owner in others if present(self._where, owner)}
        theirs = {row["run"] for row in rows if row["owner"] in living}
        found = {row["run"]: row["digest"] for row in rows if row["owner"] not in living}
        for run, digest in self._of_0_1_0(workflow):
            found.setdefault(run, digest)
        return [(run, digest) for run, digest in found.items() if run not in given_up | theirs]

    def _failed(self, run: str) -> bool:
        """Whether the store says so; it does until a person goes on with it."""
        with suppress(NotFoundError):
            return self._store.run(run)["status"] == "failed"
        return False

    def _of_0_1_0(self, workflow: str) -> list[tuple[str, str]]:
        rows = self._store.query(
            "SELECT run_id, digest FROM runs WHERE workflow = ? AND status = 'running' AND NOT shadow "
            "AND metadata ->> 'channel' = ? AND started_ns < ? ORDER BY started_ns",
            (workflow, self._channel, time.time_ns() - int(_SETTLED_S * 1e9)),
        )
        return [(row["run_id"], row["digest"]) for row in rows]

    def given_up(self, workflow: str) -> int:
        """How many accepted runs are left for a person, since they have ended their processes."""
        with self._database.reading() as execute:
            (row,) = execute(
                "SELECT count(*) AS runs FROM accepted JOIN recovered ON recovered.run = accepted.run"
                " WHERE workflow = ? AND alone >= ?",
                (workflow, ALONE),
            )
        return row["runs"]

    def close(self) -> None:
        """Leave what was not ended to others."""
        self._presence.end()
        self._database.close()
