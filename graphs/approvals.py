"""Decisions on waiting runs: each is claimed once, durably, before the run goes on.

The claim is what makes deciding twice impossible, across processes; it also keeps the verdict, so that a crash between
the decision and the run's next step loses neither: the run is taken up again with the verdict that was given.
"""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

from sluicegate.errors import RunError
from sluicegate.nodes.human_interrupt import Asked, Verdict
from sluicegate.sqlite import connect, transaction

__all__ = ["CLOCK_SLACK", "Approvals", "Waiting", "deadline"]

CLOCK_SLACK = timedelta(minutes=5)
"""How far a clock may step back without harm: as far as time servers correct it in normal running."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS decisions (
    run TEXT NOT NULL, node TEXT NOT NULL, asked_at TEXT NOT NULL, verdict TEXT NOT NULL,
    decided_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), applied INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (run, node, asked_at)
);
"""


class Waiting(Asked):
    """One run that waits for a person, with the evidence they decide on."""

    run: str
    workflow: str
    digest: str
    principal: str
    request: str
    intent: str
    deadline: str
    """When silence refuses, ISO 8601."""


class Approvals:
    """The decisions of one home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._database = connect(home / "approvals.sqlite", schema=_SCHEMA, durable=True)

    def claim(self, waiting: Waiting, verdict: Verdict) -> None:
        """Give this verdict, once. Raises `RunError` SG605 when another was given before."""
        with transaction(self._database) as database:
            row = database.execute(
                "SELECT verdict FROM decisions WHERE run = ? AND node = ? AND asked_at = ?", _key(waiting)
            ).fetchone()
            if row:
                given = json.loads(row["verdict"])
                by = given["principal"]["id"] if given["principal"] else "the clock"
                raise RunError("SG605", f"run {waiting['run']} was decided already: {given['verdict']} by {by}")
            database.execute(
                "INSERT INTO decisions (run, node, asked_at, verdict) VALUES (?, ?, ?, ?)",
                (*_key(waiting), json.dumps(verdict, ensure_ascii=False)),
            )

    def unapplied(self, waiting: Waiting) -> Verdict | None:
        """The verdict that was given but not yet acted on, after a crash."""
        row = self._database.execute(
            "SELECT verdict FROM decisions WHERE run = ? AND node = ? AND asked_at = ? AND applied = 0", _key(waiting)
        ).fetchone()
        return cast("Verdict", json.loads(row["verdict"])) if row else None

    def applied(self, waiting: Waiting) -> None:
        with transaction(self._database) as database:
            database.execute(
                "UPDATE decisions SET applied = 1 WHERE run = ? AND node = ? AND asked_at = ?", _key(waiting)
            )

    def passed(self, run: str) -> None:
        """The run has gone on from all that it waited for: a crash may have come before `applied`."""
        with transaction(self._database) as database:
            database.execute("UPDATE decisions SET applied = 1 WHERE run = ? AND applied = 0", (run,))


def _key(waiting: Waiting) -> tuple[str, str, str]:
    return waiting["run"], waiting["node"], waiting["asked_at"]


def deadline(asked_at: str, timeout_s: float) -> str:
    """When silence refuses, ISO 8601."""
    return (datetime.fromisoformat(asked_at) + timedelta(seconds=timeout_s)).isoformat()
