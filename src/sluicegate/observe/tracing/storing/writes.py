"""What the recorder commits, as rows, and how rows are applied: to a file, or to the tables of a server. The
observations in a file are packed (`packed`).

Rows are plain JSON data, so that a machine can keep them until the server has them. Those of one run may come from
several machines, and late from one that was cut off: what is behind the end of a run does not change how it ended.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sluicegate.observe.tracing.spans import Record, RunInfo, Score, after_resume, root_id
from sluicegate.storage.database import IN_TURN, Rows

__all__ = [
    "Dialect",
    "Writes",
    "WrittenRows",
    "apply",
    "confirmed_rows",
    "pruned",
    "rows_of",
    "span_rows",
    "storable",
    "to_json",
    "unconfirm",
]

_OUTCOME = (
    "status", "path", "intent", "risk", "confidence", "threshold", "needs_large", "classified_by", "artifact", "usd",
    "prompt_tokens", "completion_tokens", "slm_calls", "llm_calls", "all_llm_usd", "answer", "model", "prompt",
    "approval", "waited_s", "error",
)  # fmt: skip

WrittenRows = dict[str, list[Any]]
"""Rows by what they are: `begun`, `ended`, `records`, `scores`, `roots`, `confirmed`, and `changed`, the runs."""


@dataclass(slots=True)
class Writes:
    """What one commit writes: begun runs, ended runs, records and scores, all masked."""

    begun: list[tuple[RunInfo, int]] = field(default_factory=list[tuple[RunInfo, int]])
    """Run and start in Unix nanoseconds."""
    records: list[tuple[str, Record]] = field(default_factory=list[tuple[str, Record]])
    """Run id and record."""
    scores: list[Score] = field(default_factory=list[Score])
    ended: list[tuple[RunInfo, int, float, Mapping[str, Any]]] = field(
        default_factory=list[tuple[RunInfo, int, float, Mapping[str, Any]]]
    )
    """Run, end in Unix nanoseconds, milliseconds of this segment, outcome."""
    roots: list[tuple[str, int, Mapping[str, Any], Sequence[str]]] = field(
        default_factory=list[tuple[str, int, Mapping[str, Any], Sequence[str]]]
    )
    """Of runs that were resumed: id, end in Unix nanoseconds and outcome, which their root is given, and the
    destinations that will be sent it again."""

    def any(self) -> bool:
        return bool(self.begun or self.records or self.scores or self.ended)


@dataclass(frozen=True, slots=True)
class Dialect:
    """What SQLite and a server say differently; these are SQLite's."""

    decisions: str = "decisions"
    deliveries: str = "deliveries"
    spans: str = "packed_spans"
    """The table that has the observations, with the `run_id` and the last `seq` of each row's."""
    recorded: str = "sum(count)"
    """How many observations rows of it have."""
    day: str = "date(started_ns / 1000000000, 'unixepoch')"
    """On which a run began, in UTC, as a text."""
    scored: str = "rowid"
    """The order of scores of one moment."""
    changed: str = "INSERT OR REPLACE INTO changes (run_id) VALUES (?)"
    # also when the run that had it is deleted
    last_change: str = "SELECT coalesce(max(seq), 0) AS seq FROM sqlite_sequence WHERE name = 'changes'"
    in_order: str = ""
    """By which name whoever writes changes waits for the others, so that their numbers are in the order of the commits;
    writers of a file do so anyway."""
    value: Callable[[Any], Any] = lambda value: value
    """A score's value, as a parameter."""


def rows_of(writes: Writes) -> WrittenRows:
    """All but the observations."""
    return {
        "begun": [_begun_row(*begun) for begun in writes.begun],
        "scores": [_score_row(score) for score in writes.scores],
        "ended": [
            [info.run_id, end_ns, ms, to_json(info.tags), {key: outcome[key] for key in _OUTCOME if key in outcome}]
            for info, end_ns, ms, outcome in writes.ended
        ],
        "changed": [info.run_id for info, *_ in (*writes.begun, *writes.ended)],
    }


def span_rows(writes: Writes) -> WrittenRows:
    """The observations, as a server has them."""
    return {
        "records": [_span_row(run_id, record) for run_id, record in writes.records],
        "roots": [[run_id, end_ns, {**outcome}, [*to]] for run_id, end_ns, outcome, to in writes.roots],
    }


def confirmed_rows(destination: str, counts: Mapping[str, int], *, whole: bool) -> WrittenRows:
    """How many observations and scores of each run a destination has confirmed; `whole`: in all, not more."""
    return {"confirmed": [[destination, run_id, count, whole] for run_id, count in counts.items()]}


def apply(execute: Rows, rows: WrittenRows, dialect: Dialect) -> None:
    """Write rows, in a transaction of the caller's."""
    if begun := rows.get("begun"):
        execute.many(_BEGIN, begun)
    if records := rows.get("records"):
        execute.many(_SPAN, records)
    if scores := rows.get("scores"):
        execute.many(_SCORE, [[*row[:4], dialect.value(row[4]), *row[5:]] for row in scores])
    for run_id, end_ns, ms, tags, given in rows.get("ended", ()):
        execute.many("UPDATE runs SET ms = ms + ? WHERE run_id = ?", [(ms, run_id)])
        columns = ", ".join(["ended_ns = ?", "tags = ?", *(f"{key} = ?" for key in given)])
        over = "" if given.get("status") in _OVER else f" AND status NOT IN {_OVER}"
        values = (end_ns, tags, *given.values(), run_id)
        execute.many(f"UPDATE runs SET {columns} WHERE run_id = ?{over}", [values])  # noqa: S608
    for run_id, end_ns, outcome, destinations in rows.get("roots", ()):
        if _extend_root(execute, run_id, end_ns, outcome):
            unconfirm(execute, run_id, destinations, dialect)
    for destination, run_id, count, whole in rows.get("confirmed", ()):
        execute.many(_confirmed(dialect, whole=whole), [(destination, run_id, count)])
    if changed := rows.get("changed"):
        if dialect.in_order:
            execute.many(IN_TURN, [(dialect.in_order,)])
        execute.many(dialect.changed, [(run_id,) for run_id in changed])


def pruned(execute: Rows, before_ns: int, workflow: str, dialect: Dialect) -> int:
    """Delete a workflow's finished runs that began before a time, with all that belongs to them; how many."""
    done = "SELECT run_id FROM runs WHERE started_ns < ? AND workflow = ? AND status NOT IN ('running', 'waiting')"
    for table in (dialect.spans, "scores", dialect.deliveries, "changes"):
        execute(f"DELETE FROM {table} WHERE run_id IN ({done})", (before_ns, workflow))  # noqa: S608
    gone = execute(f"DELETE FROM runs WHERE run_id IN ({done}) RETURNING 1 AS one", (before_ns, workflow))  # noqa: S608
    return len(gone)


def storable(rows: WrittenRows) -> WrittenRows:
    """Rows without what PostgreSQL takes in no text: the character 0, and halves of surrogate pairs."""
    return {what: [_storable(row) for row in found] for what, found in rows.items()}


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        if "\\u0000" in value:
            # within JSON, where the backslash is not itself escaped
            value = _ZERO.sub("\\1\ufffd", value)
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {key: _storable(each) for key, each in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple):
        return [_storable(each) for each in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def unconfirm(execute: Rows, run_id: str, destinations: Sequence[str], dialect: Dialect) -> None:
    """What they have confirmed of a run's root is no longer what is there."""
    execute.many(_confirmed(dialect, whole=False), [(destination, run_id, -1) for destination in destinations])


def _extend_root(execute: Rows, run_id: str, end_ns: int, outcome: Mapping[str, Any]) -> bool:
    """Give a run's root what a resume has made of it; False where the root is not known."""
    found = execute("SELECT attributes FROM spans WHERE span_id = ? AND parent = ''", (root_id(run_id),))
    if found:
        attributes = json.loads(found[0]["attributes"]) | outcome
        execute.many(
            "UPDATE spans SET end_ns = ?, level = ?, message = ?, attributes = ? WHERE span_id = ? AND parent = ''",
            [(end_ns, *after_resume(outcome), to_json(attributes), root_id(run_id))],
        )
    return bool(found)


_ZERO = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
_OVER = ("answered", "refused")
"""What a run does not come back from."""
_BEGIN = (
    'INSERT INTO runs (run_id, trace_id, workflow, version, digest, "user", session, environment, release, shadow, '  # noqa: S608
    "status, started_ns, request, metadata, tags) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'running', ?, ?, ?, ?) "
    f"ON CONFLICT (run_id) DO UPDATE SET status = CASE WHEN runs.status IN {_OVER} THEN runs.status "
    "ELSE 'running' END"
)
_SPAN = (
    "INSERT INTO spans (span_id, run_id, parent, name, type, start_ns, end_ns, level, message, attributes) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
_SCORE = (
    'INSERT INTO scores (score_id, run_id, name, data_type, value, comment, at_ns, observation, source, "by") '
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)


def _confirmed(dialect: Dialect, *, whole: bool) -> str:
    more = "" if whole else f" + {dialect.deliveries}.records"
    return (
        f"INSERT INTO {dialect.deliveries} (destination, run_id, records) VALUES (?, ?, ?) "  # noqa: S608
        f"ON CONFLICT (destination, run_id) DO UPDATE SET records = excluded.records{more}"
    )


_ENCODER = json.JSONEncoder(ensure_ascii=False, default=str, allow_nan=False, separators=(",", ":"))


def to_json(value: Any) -> str:
    """JSON that databases and browsers read: no NaN, and anything foreign by its `str`."""
    try:
        return _ENCODER.encode(value)
    except ValueError:
        return _ENCODER.encode(_finite(value))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def _begun_row(info: RunInfo, start_ns: int) -> list[Any]:
    return [
        *(info.run_id, info.trace_id, info.workflow, info.version, info.digest, info.user, info.session),
        *(info.environment, info.release, int(info.shadow), start_ns, info.request),
        *(to_json(info.metadata), to_json(info.tags)),
    ]


def _span_row(run_id: str, record: Record) -> list[Any]:
    return [
        *(record.id, run_id, record.parent, record.name, record.type, record.start_ns, record.end_ns),
        *(record.level, record.message, to_json(record.attributes)),
    ]


def _score_row(score: Score) -> list[Any]:
    return [
        *(score.id, score.run_id, score.name, score.data_type, score.value, score.comment, score.at_ns),
        *(score.observation, score.source, score.by),
    ]
