"""Results of evaluations: every row by what it depends on, and every evaluation as a whole.

A row is reused under the same workflow digest, variant, content of the indexes and labels; so an interrupted evaluation
continues where it stopped, and a second one of the same version costs nothing, on whatever machine. A row's seconds
are those of the machine where it ran.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from sluicegate.errors import NotFoundError
from sluicegate.home import home, private_folder
from sluicegate.storage.database import SqliteDatabase, open_database, place
from sluicegate.storage.postgres import Server
from sluicegate.storage.schemas import RESULTS

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
    """The file ``evals/results.sqlite`` of the home, or tables of the server that machines share. Raises `RunError`
    SG606 to SG608, or SG625."""

    def __init__(self) -> None:
        where = place()
        self._database = open_database(where if isinstance(where, Server) else private_folder(where / "evals"), RESULTS)
        if self._database.remote:
            self._take_over()

    def row(self, under: str, case: str) -> Row | None:
        with self._database.reading() as execute:
            found = execute("SELECT result FROM results WHERE under = ? AND row = ?", (under, case))
        return _row(json.loads(found[0]["result"])) if found else None

    def keep(self, under: str, row: Row) -> None:
        """Failed rows are not stored: they are tried again."""
        if row.error:
            return
        with self._database.writing() as execute:
            execute.many(
                "INSERT INTO results VALUES (?, ?, ?, ?) ON CONFLICT (under, row) DO UPDATE SET"
                " result = excluded.result, at = excluded.at",
                [(under, row.case, json.dumps(asdict(row)), _now())],
            )

    def evaluated(
        self, workflow: str, variant: str, data: str, digest: str, under: str, metrics: Any, rows: list[Row]
    ) -> None:
        """Store an evaluation, to compare the next one with."""
        kept = json.dumps([asdict(row) for row in rows])
        values = (workflow, variant, data, digest, under, _now(), json.dumps(metrics), kept)
        with self._database.writing() as execute:
            execute.many(_EVALUATED, [values])

    def evaluations(self, workflow: str, *, most: int = 50) -> list[KeptEvaluation]:
        """The newest first."""
        with self._database.reading() as execute:
            rows = execute(
                f"SELECT {_COLUMNS} FROM evaluations WHERE workflow = ? ORDER BY number DESC LIMIT ?",  # noqa: S608 - our own texts only
                (workflow, most),
            )
        return [_kept(row) for row in rows]

    def evaluation(self, number: int) -> tuple[KeptEvaluation, list[Row]]:
        """One with its rows. Raises `RunError` SG603 when there is none."""
        with self._database.reading() as execute:
            found = execute("SELECT * FROM evaluations WHERE number = ?", (number,))
        if not found:
            raise NotFoundError(f"no evaluation {number}", hint="Run one: sluicegate eval CONFIG DATA")
        return _kept(found[0]), [_row(row) for row in json.loads(found[0]["rows"])]

    def last(
        self, workflow: str, variant: str, cases: Iterable[str], *, other_than: str, before: int = 2**63 - 1
    ) -> dict[str, Any] | None:
        """The newest evaluation under other conditions than `other_than`, of those with a number below `before`, that
        has at least half of `cases`.

        Its ``rows`` are `Row`s, ``shared`` says how many of the cases it has. A file that has grown since is compared
        where it can be.
        """
        wanted = set(cases)
        with self._database.reading() as execute:
            while True:
                found = execute(
                    "SELECT * FROM evaluations WHERE workflow = ? AND variant = ? AND under != ? AND number < ? "
                    "ORDER BY number DESC LIMIT 1",
                    (workflow, variant, other_than, before),
                )
                if not found:
                    return None
                rows = [_row(row) for row in json.loads(found[0]["rows"])]
                shared = len(wanted & {row.case for row in rows})
                if 2 * shared >= len(wanted):
                    return {**found[0], "metrics": json.loads(found[0]["metrics"]), "rows": rows, "shared": shared}
                before = found[0]["number"]

    def close(self) -> None:
        self._database.close()

    def _take_over(self) -> None:
        """Bring here what a home has had before its machine shared a server. Cut short, it is done again, and what is
        there already is not brought twice."""
        file = home() / "evals" / "results.sqlite"
        if not file.is_file():
            return
        with closing(SqliteDatabase(file, RESULTS)) as own:
            with own.reading() as execute:
                results = execute("SELECT under, row, result, at FROM results")
                evaluations = execute("SELECT * FROM evaluations ORDER BY number")
            with self._database.writing() as execute:
                execute.many(
                    "INSERT INTO results VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    [tuple(row.values()) for row in results],
                )
                known = {tuple(row.values()) for row in execute("SELECT workflow, under, at FROM evaluations")}
                fresh = [row for row in evaluations if (row["workflow"], row["under"], row["at"]) not in known]
                execute.many(_EVALUATED, [tuple(row.values())[1:] for row in fresh])
        file.replace(file.with_name(f"{file.name}.moved"))


_EVALUATED = (
    "INSERT INTO evaluations (workflow, variant, data, digest, under, at, metrics, rows) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_COLUMNS = "number, workflow, variant, data, digest, under, at, metrics"


def _kept(row: Any) -> KeptEvaluation:
    fields: dict[str, Any] = {name: row[name] for name in _COLUMNS.split(", ")}
    return KeptEvaluation(**{**fields, "metrics": json.loads(fields["metrics"])})


def _row(said: dict[str, Any]) -> Row:
    fields: dict[str, Any] = {**said, "slices": tuple(said["slices"])}
    return Row(**fields)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
