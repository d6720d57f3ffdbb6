"""The store: every run's row, observations and scores, in a SQLite file; the source of truth for all reading.

`spans`, `steps`, `decisions` and `model_calls` are views over the observations, so that nothing is written twice. A
store is safe to use from any thread, and by several processes at once. What it reads is one SQL for a file and for the
server of many machines, whose store (`observe.tracing.storing.shared`) is this one with other words for a few things;
only a file has its observations packed.
"""

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sluicegate.errors import NotFoundError
from sluicegate.home import home
from sluicegate.observe.tracing.reading.filters import RunFilter, prefix_range, where
from sluicegate.observe.tracing.spans import Record, RunInfo, Score, Trace
from sluicegate.observe.tracing.storing.packed import add_spans, extend_root
from sluicegate.observe.tracing.storing.writes import (
    Dialect,
    Writes,
    apply,
    confirmed_rows,
    pruned,
    rows_of,
    unconfirm,
)
from sluicegate.storage.database import SqliteRows
from sluicegate.storage.schemas import TRACES
from sluicegate.storage.sqlite import connect, explained, transaction

__all__ = ["Store", "decoded_run"]


class Store:
    """Opens `path`, by default the home's store, or makes it. Where runs are kept is what `open_store` knows.

    Raises `RunError` SG606 (corrupt), SG607, SG608, SG612 (written by a newer version).
    """

    sql = Dialect()
    """What a server says otherwise."""

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = path = path or home() / "store.sqlite"
        self._lock = threading.Lock()
        self._connection = connect(path, TRACES)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def settle(self) -> None:
        """Return when what this machine has recorded is where it is read."""

    def write(self, writes: Writes) -> None:
        """Commit; all or nothing. Raises `RunError` SG606, SG607, SG608."""
        with self._lock, transaction(self._connection) as connection, explained(self.path):
            execute = SqliteRows(connection)
            apply(execute, rows_of(writes), self.sql)
            add_spans(execute, writes.records)
            for run_id, end_ns, outcome, destinations in writes.roots:
                if extend_root(execute, run_id, end_ns, outcome):
                    unconfirm(execute, run_id, destinations, self.sql)

    def delivered(self, destination: str, counts: Mapping[str, int], *, whole: bool = False) -> None:
        """Note how many observations and scores of each run a destination has confirmed; `whole`: in all, not more."""
        with self._lock, transaction(self._connection) as connection:
            apply(SqliteRows(connection), confirmed_rows(destination, counts, whole=whole), self.sql)

    def undelivered(self, destination: str, *, since_ns: int = 0) -> list[str]:
        """The runs of which a destination has not confirmed every observation and score, oldest first."""
        rows = self.query(
            f"SELECT run_id, coalesce((SELECT {self.sql.recorded} FROM {self.sql.spans} AS kept "  # noqa: S608
            "WHERE kept.run_id = runs.run_id), 0) + "
            "(SELECT count(*) FROM scores WHERE scores.run_id = runs.run_id) AS kept, coalesce((SELECT records "
            f"FROM {self.sql.deliveries} AS sent WHERE destination = ? AND sent.run_id = runs.run_id), 0) AS confirmed "
            "FROM runs WHERE started_ns >= ? ORDER BY started_ns",
            (destination, since_ns),
        )
        return [row["run_id"] for row in rows if row["kept"] > row["confirmed"]]

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Read rows. Raises `RunError` SG606, SG608."""
        with self._lock, explained(self.path):
            return [dict(row) for row in self._connection.execute(sql, values)]

    def runs(self, which: RunFilter | None = None, *, limit: int = 50) -> list[dict[str, Any]]:
        """Rows of `runs`, newest first, all with a `limit` below 0; `tags` and `metadata` are decoded."""
        terms, values = where(which or RunFilter())
        rows = self.query(
            f"SELECT * FROM runs {terms} ORDER BY started_ns DESC, run_id DESC LIMIT ?",  # noqa: S608
            [*values, limit if limit >= 0 else 2**63 - 1],
        )
        return [decoded_run(row) for row in rows]

    def run(self, run_id: str) -> dict[str, Any]:
        """One run's row, by its id or a unique prefix. Raises `RunError` SG603 when none or several match."""
        rows = self.query("SELECT * FROM runs WHERE run_id = ?", (run_id,)) or self.query(
            "SELECT * FROM runs WHERE run_id >= ? AND run_id < ? LIMIT 3", prefix_range(run_id)
        )
        if len(rows) != 1 or not run_id:
            what = f"no run {run_id!r}" if not rows else f"several runs start with {run_id!r}"
            raise NotFoundError(f"{what} in {self.path}", hint="List all runs: sluicegate trace list")
        return decoded_run(rows[0])

    def spans(self, run_id: str) -> list[dict[str, Any]]:
        """A run's observations in the order they began; `attributes` is decoded."""
        rows = self.query("SELECT * FROM spans WHERE run_id = ? ORDER BY start_ns, seq", (run_id,))
        return [row | {"attributes": json.loads(row["attributes"])} for row in rows]

    def root(self, run_id: str) -> Record | None:
        """A run's root; None when it is not known, as of a run that was killed before it first paused."""
        rows = self.query("SELECT * FROM spans WHERE run_id = ? AND parent = ''", (run_id,))
        return _record(rows[0] | {"attributes": json.loads(rows[0]["attributes"])}) if rows else None

    def decisions(self, run_id: str) -> list[dict[str, Any]]:
        rows = self.query(f"SELECT * FROM {self.sql.decisions} WHERE run_id = ? ORDER BY start_ns, seq", (run_id,))  # noqa: S608
        return [
            row | {"values": json.loads(row["values"] or "{}"), "not_taken": json.loads(row["not_taken"] or "[]")}
            for row in rows
        ]

    def model_calls(self, run_id: str) -> list[dict[str, Any]]:
        return self.query("SELECT * FROM model_calls WHERE run_id = ? ORDER BY start_ns, seq", (run_id,))

    def scores(self, run_id: str) -> list[dict[str, Any]]:
        rows = self.query(f"SELECT * FROM scores WHERE run_id = ? ORDER BY at_ns, {self.sql.scored}", (run_id,))  # noqa: S608
        return [row | {"value": bool(row["value"])} if row["data_type"] == "BOOLEAN" else row for row in rows]

    def add_score(self, score: Score) -> None:
        self.write(Writes(scores=[score]))

    def confidences(
        self, workflow: str, *, since_ns: int = 0, until_ns: int = 2**63 - 1, most: int = 2**63 - 1
    ) -> list[dict[str, Any]]:
        """Data of drift tests: label, confidence, threshold and time of each classified run, oldest first, the
        probability that it needed the large model, where the workflow had a fitted escalation, and the confidence in
        its answer, where it has one; of the newest runs, at `most` so many."""
        rows = self.query(
            "SELECT run_id, started_ns, digest, intent, confidence, threshold, classified_by, artifact, path, "
            "(SELECT value FROM scores WHERE scores.run_id = runs.run_id AND name = 'answer_confidence') "
            "AS answer_confidence, needs_large FROM runs WHERE "
            # an expression leaves the choice to the index over time: in its order the newest need no sorting
            "workflow || '' = ? AND started_ns >= ? AND started_ns < ? AND intent IS NOT NULL "
            "AND confidence IS NOT NULL AND shadow = 0 "
            "ORDER BY started_ns DESC LIMIT ?",
            (workflow, since_ns, until_ns, most),
        )
        return rows[::-1]

    def days_of_confidence(self, workflow: str, *, since_ns: int, out_of_scope: str | None) -> list[dict[str, Any]]:
        """As `routing.monitoring.drift.by_day`, added up by the database."""
        return self.query(
            f"SELECT {self.sql.day} AS day, count(*) AS rows, avg(confidence) AS confidence, "  # noqa: S608
            "CAST(avg(CASE WHEN intent = ? THEN 1.0 ELSE 0.0 END) AS DOUBLE PRECISION) AS outside "
            "FROM runs WHERE workflow = ? AND started_ns >= ? AND intent IS NOT NULL AND confidence IS NOT NULL "
            "AND shadow = 0 GROUP BY day ORDER BY day",
            (out_of_scope, workflow, since_ns),
        )

    def requests(self, workflow: str, *, since_ns: int = 0) -> list[str]:
        """The classified requests, each once, as far as their text was kept; latest first."""
        rows = self.query(
            "SELECT request, max(started_ns) AS at FROM runs WHERE workflow = ? AND started_ns >= ? AND shadow = 0 "
            "AND intent IS NOT NULL AND trim(coalesce(request, '')) != '' GROUP BY request ORDER BY at DESC",
            (workflow, since_ns),
        )
        return [str(row["request"]) for row in rows]

    def feedback(self, *, since_ns: int = 0) -> list[dict[str, Any]]:
        """Scores that people gave, with their run's workflow, intent and path, oldest first."""
        return self.query(
            "SELECT scores.*, runs.workflow, runs.intent, runs.path FROM scores JOIN runs USING (run_id) "
            "WHERE source = 'feedback' AND at_ns >= ? ORDER BY at_ns",
            (since_ns,),
        )

    def corrections(self, workflow: str, *, since_ns: int = 0) -> list[dict[str, Any]]:
        """Requests whose intent a person corrected (score ``correct_intent``): labelled data for the router."""
        return self.query(
            "SELECT runs.run_id, runs.request AS text, runs.intent AS predicted, runs.confidence, "
            'scores.value AS label, scores.at_ns, scores."by" FROM scores JOIN runs USING (run_id) '
            "WHERE scores.name = 'correct_intent' AND runs.workflow = ? AND scores.at_ns >= ? ORDER BY scores.at_ns",
            (workflow, since_ns),
        )

    def escalation_verdicts(self, workflow: str, *, since_ns: int = 0) -> list[dict[str, Any]]:
        """Requests of which a person said whether they needed the large model (score ``needed_large``), oldest first:
        `text`, where it was kept, and `needed`."""
        rows = self.query(
            "SELECT runs.request AS text, scores.value AS value FROM scores JOIN runs USING (run_id) "
            "WHERE scores.name = 'needed_large' AND runs.workflow = ? AND scores.at_ns >= ? ORDER BY scores.at_ns",
            (workflow, since_ns),
        )
        return [{"text": row["text"], "needed": row["value"] in (1, "true")} for row in rows]

    def decided_runs(self, workflow: str, *, since_ns: int = 0) -> list[dict[str, Any]]:
        """The finished runs that waited for a person, oldest first: `run_id` and `request`."""
        return self.query(
            "SELECT run_id, request FROM runs WHERE workflow = ? AND ended_ns >= ? AND approval IS NOT NULL "
            "AND status IN ('answered', 'refused') AND shadow = 0 ORDER BY ended_ns",
            (workflow, since_ns),
        )

    def trace(self, run_id: str) -> Trace:
        """A complete run for exporters, to send it again."""
        row = self.run(run_id)
        info = RunInfo(
            **{key: row[key] for key in _INFO}, shadow=bool(row["shadow"]), tags=row["tags"], metadata=row["metadata"]
        )
        spans = self.spans(row["run_id"])
        records = [_record(span) for span in spans]
        scores = [
            Score(**{_FIELDS.get(key, key): score[key] for key in _SCORED}) for score in self.scores(row["run_id"])
        ]
        return Trace(info, records, scores)

    def prune(self, before_ns: int, workflow: str) -> int:
        """Delete a workflow's finished runs that began before a time, with all that belongs to them; how many."""
        with self._lock, transaction(self._connection) as connection:
            return pruned(SqliteRows(connection), before_ns, workflow, self.sql)

    def since(self, seq: int) -> list[dict[str, Any]]:
        """Observations written after `seq`, for following live."""
        rows = self.query(
            # only what these runs have is unpacked
            f"SELECT * FROM spans WHERE run_id IN (SELECT run_id FROM {self.sql.spans} WHERE seq > ?) "  # noqa: S608
            "AND seq > ? ORDER BY seq",
            (seq, seq),
        )
        return [row | {"attributes": json.loads(row["attributes"])} for row in rows]

    def last(self) -> int:
        """The `seq` of the newest observation."""
        return self.query(f"SELECT coalesce(max(seq), 0) AS seq FROM {self.sql.spans}")[0]["seq"]  # noqa: S608


_INFO = ("run_id", "trace_id", "workflow", "version", "digest", "session", "user", "environment", "release", "request")
_RECORD = ("span_id", "parent", "name", "type", "attributes", "start_ns", "end_ns", "level", "message")
_SCORED = ("score_id", "run_id", "name", "value", "comment", "at_ns", "observation", "source", "by")
_FIELDS = {"span_id": "id", "score_id": "id"}


def _record(span: dict[str, Any]) -> Record:
    return Record(**{_FIELDS.get(key, key): span[key] for key in _RECORD})


def decoded_run(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `runs` with its `tags` and `metadata` decoded."""
    return row | {"tags": json.loads(row["tags"]), "metadata": json.loads(row["metadata"])}
