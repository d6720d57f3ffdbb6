"""Observations in a file: what a commit writes of a run is one packed row, of which the view `spans` makes them again.

The observations of a run repeat each other's words, which is most of what they have: together they are packed to a
third.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sluicegate.observe.tracing.spans import Record, after_resume
from sluicegate.observe.tracing.storing.writes import to_json
from sluicegate.storage.database import Execute, Rows

__all__ = ["add_spans", "extend_root", "packed_with", "replace_in_spans"]

_PARENT, _END, _ATTRIBUTES = 1, 5, 8
"""Places in the array of an observation."""


def add_spans(execute: Rows, records: Sequence[tuple[str, Record]]) -> None:
    """Write observations with their runs' ids. A run that is begun anew after a crash keeps its first root."""
    runs: dict[str, list[Record]] = {}
    for run_id, record in records:
        runs.setdefault(run_id, []).append(record)
    for run_id, found in runs.items():
        root = next((record for record in found if not record.parent), None)
        if root and execute("SELECT 1 FROM packed_spans WHERE run_id = ? AND root", (run_id,)):
            root = None
        spans = [_array(record) for record in found if record.parent or record is root]
        content = _packable(spans)
        if spans:
            execute.many(_ADD, [(len(spans), run_id, len(spans), root is not None, len(content), content)])


def extend_root(execute: Rows, run_id: str, end_ns: int, outcome: Mapping[str, Any]) -> bool:
    """Give a run's root what a resume has made of it; False where the root is not known."""
    found = execute(f"SELECT seq, {_JSON} AS spans FROM packed_spans WHERE run_id = ? AND root", (run_id,))  # noqa: S608
    for row in found:
        spans = json.loads(row["spans"])
        root = next(span for span in spans if not span[_PARENT])
        root[_END:] = [end_ns, *after_resume(outcome), root[_ATTRIBUTES] | outcome]
        content = _packable(spans)
        execute.many(_REPLACE, [(len(content), content, row["seq"])])
    return bool(found)


def packed_with(execute: Execute, text: str) -> Iterator[tuple[int, str]]:
    """The rows that have a text in their JSON: number, and all of it."""
    for row in execute(f"SELECT seq FROM packed_spans WHERE instr({_JSON}, ?)", (text,)):  # noqa: S608
        # one at a time: somebody may be named in most of them
        (found,) = execute(f"SELECT {_JSON} AS spans FROM packed_spans WHERE seq = ?", (row["seq"],))  # noqa: S608
        yield row["seq"], found["spans"]


def replace_in_spans(execute: Rows, old: str, new: str) -> int:
    """Put a piece of JSON in the place of another one; in how many observations."""
    changed = 0
    for seq, spans in packed_with(execute, old):
        changed += sum(old in to_json(span) for span in json.loads(spans))
        content = spans.replace(old, new).encode()
        execute.many(_REPLACE, [(len(content), content, seq)])
    return changed


_JSON = "CAST(sqlar_uncompress(content, size) AS TEXT)"
_ADD = (
    "INSERT INTO packed_spans (seq, run_id, count, root, size, content) "
    "SELECT coalesce(max(seq), 0) + ?, ?, ?, ?, ?, sqlar_compress(?) FROM packed_spans"
)
_REPLACE = "UPDATE packed_spans SET size = ?, content = sqlar_compress(?) WHERE seq = ?"


def _array(record: Record) -> list[Any]:
    return [
        *(record.id, record.parent, record.name, record.type, record.start_ns, record.end_ns, record.level),
        # SQLite ends a text of a JSON document at this character
        *(record.message.replace("\0", "\ufffd"), record.attributes),
    ]


def _packable(spans: Sequence[Sequence[Any]]) -> bytes:
    return to_json(spans).encode()
