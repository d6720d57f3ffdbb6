"""Observations without what a reader may not read: texts of people, models and documents, and the documents' names."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sluicegate.observe.tracing.describers import without_words
from sluicegate.observe.tracing.masking import PAYLOADS
from sluicegate.observe.tracing.spans import Record, Trace

__all__ = ["trace_without_texts", "without_texts"]


_WITHHELD = PAYLOADS | {"documents", "citations", "error", "extra"}


def without_texts(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What is left of an observation's attributes."""
    left = {key: value for key, value in attributes.items() if key not in _WITHHELD}
    if "values" in left:
        left["values"] = without_words(left["values"])
    return left


def trace_without_texts(trace: Trace) -> Trace:
    """A copy; what the store is still to write is not touched."""
    records = [
        Record(
            one.id,
            one.parent,
            one.name,
            one.type,
            without_texts(one.attributes),
            start_ns=one.start_ns,
            end_ns=one.end_ns,
            level=one.level,
        )
        for one in trace.records
    ]
    scores = [replace(score, comment="") for score in trace.scores]
    return replace(trace, records=records, scores=scores, root=None)
