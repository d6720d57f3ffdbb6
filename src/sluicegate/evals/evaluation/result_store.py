"""Results of evaluations in the home: every row by what it depends on, and every evaluation as a whole.

A row is reused under the same workflow digest, variant, content of the indexes and labels; so an interrupted evaluation
continues where it stopped, and a second one of the same version costs nothing.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sluicegate.errors import NotFoundError
from sluicegate.home import home, private_folder
from sluicegate.storage.schemas import RESULTS
from sluicegate.storage.sqlite import connect, explained, transaction

__all__ = ["KeptEvaluation", "ResultStore", "Row"]


@dataclass(frozen=True, slots=True)
class Row:
    """The result of one case."""

    case: str
    run: str
    text: str
    status: str
    path: str
    intent: str
    answer: str
    model: str
    """The model that really answered; empty when none did."""
    fallback: str
    slices: tuple[str, ...]
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    error: str = ""
    """Why the run failed; empty when it did not."""
    at_once: int = 1
    """Concurrent runs at the time, on which its duration depends."""


@dataclass(frozen=True, slots=True)
class KeptEvaluation:
    """An evaluation as a whole, without its rows."""

    number: int
    workflow: str
    variant: str
    data: str
    """Hash of the labelled requests."""
    digest: str
    under: str
    """What its results depend on."""
    at: str
    metrics: Mapping[str, Mapping[str, Any]]
    """Figures by name, each with the fields of an `Estimate`."""

    @property
    def n(self) -> int:
        """The most rows that a figure has."""
        return max((figure["n"] for figure in self.metrics.values()), default=0)


class ResultStore:
    """The file ``evals/results.sqlite`` of the home. Raises `RunError` SG606 to SG608."""

    def __init__(self) -> None:
        self.path: Path = private_folder(home() / "evals") / "results.sqlite"
        self._connection = connect(self.path, RESULTS)

    def row(self, under: str, case: str) -> Row | None:
        with explained(self.path):
            found = self._connection.execute(
                "SELECT result FROM results WHERE under = ? AND row = ?", (under, case)
            ).fetchone()
        return _row(json.loads(found["result"])) if found else None

    def keep(self, under: str, row: Row) -> None:
        """Failed rows are not stored: they are tried again."""
        if row.error:
            return
        with transaction(self._connection) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?)", (under, row.case, json.dumps(asdict(row)), _now())
            )

    def evaluated(
        self, workflow: str, variant: str, data: str, digest: str, under: str, metrics: Any, rows: list[Row]
    ) -> None:
        """Store an evaluation, to compare the next one with."""
        with transaction(self._connection) as connection:
            connection.execute(
                "INSERT INTO evaluations (workflow, variant, data, digest, under, at, metrics, rows) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (workflow, variant, data, digest, under, _now(), json.dumps(metrics),
                 json.dumps([asdict(row) for row in rows])),
            )  # fmt: skip

    def evaluations(self, workflow: str, *, most: int = 50) -> list[KeptEvaluation]:
        """The newest first."""
        with explained(self.path):
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM evaluations WHERE workflow = ? ORDER BY number DESC LIMIT ?",  # noqa: S608 - our own texts only
                (workflow, most),
            ).fetchall()
        return [_kept(row) for row in rows]

    def evaluation(self, number: int) -> tuple[KeptEvaluation, list[Row]]:
        """One with its rows. Raises `RunError` SG603 when there is none."""
        with explained(self.path):
            found = self._connection.execute("SELECT * FROM evaluations WHERE number = ?", (number,)).fetchone()
        if found is None:
            raise NotFoundError(f"no evaluation {number} in this home", hint="Run one: sluicegate eval CONFIG DATA")
        return _kept(found), [_row(row) for row in json.loads(found["rows"])]

    def last(
        self, workflow: str, variant: str, cases: Iterable[str], *, other_than: str, before: int = 2**63 - 1
    ) -> dict[str, Any] | None:
        """The newest evaluation under other conditions than `other_than`, of those with a number below `before`, that
        has at least half of `cases`.

        Its ``rows`` are `Row`s, ``shared`` says how many of the cases it has. A file that has grown since is compared
        where it can be.
        """
        wanted = set(cases)
        with explained(self.path):
            newest = self._connection.execute(
                "SELECT * FROM evaluations WHERE workflow = ? AND variant = ? AND under != ? AND number < ? "
                "ORDER BY number DESC",
                (workflow, variant, other_than, before),
            )
            for found in newest:
                rows = [_row(row) for row in json.loads(found["rows"])]
                shared = len(wanted & {row.case for row in rows})
                if 2 * shared >= len(wanted):
                    return {**dict(found), "metrics": json.loads(found["metrics"]), "rows": rows, "shared": shared}
        return None

    def close(self) -> None:
        self._connection.close()


_COLUMNS = "number, workflow, variant, data, digest, under, at, metrics"


def _kept(row: Any) -> KeptEvaluation:
    fields: dict[str, Any] = {name: row[name] for name in _COLUMNS.split(", ")}
    return KeptEvaluation(**{**fields, "metrics": json.loads(fields["metrics"])})


def _row(said: dict[str, Any]) -> Row:
    fields: dict[str, Any] = {**said, "slices": tuple(said["slices"])}
    return Row(**fields)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
