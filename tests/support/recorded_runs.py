"""Runs in a store as a service leaves them, by rows alone: as many as one likes, with neither models nor graphs."""

from collections.abc import Iterable
from typing import Any

from sluicegate.observe.tracing.spans import RunInfo, trace_id
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.tracing.storing.writes import Writes

__all__ = ["BEGAN_NS", "begin", "end", "many"]

BEGAN_NS = 1_795_000_000_000_000_000
"""A day in November 2026."""


def begin(store: Store, run: str, *, at_ns: int = BEGAN_NS, user: str = "ann", **info: Any) -> RunInfo:
    """A run that has begun."""
    named = _info(run, user, **info)
    store.write(Writes(begun=[(named, at_ns)]))
    return named


def end(store: Store, info: RunInfo, *, at_ns: int = BEGAN_NS, status: str = "answered", **outcome: Any) -> None:
    """And that has ended so."""
    store.write(Writes(ended=[(info, at_ns, 12.0, {"status": status, **outcome})]))


def many(store: Store, count: int, *, users: Iterable[str] = ("ann",), apart_ns: int = 1_000_000_000) -> list[str]:
    """`count` ended runs, one a second, of these users in turn; the ids, the oldest first."""
    people, runs = [*users], [f"{number:024x}" for number in range(count)]
    paths = ("rag-slm", "rag-llm", "cache", "tool")
    begun = [
        (_info(run, people[number % len(people)], request=f"Request {number}"), BEGAN_NS + number * apart_ns)
        for number, run in enumerate(runs)
    ]
    ended: list[tuple[RunInfo, int, float, Any]] = [
        (
            info, at_ns, 10.0,
            {
                "status": "answered", "path": paths[number % len(paths)], "intent": f"intent-{number % 5}",
                "risk": "low", "usd": number % 10 / 100, "prompt_tokens": 100, "completion_tokens": 20,
            },
        )
        for number, (info, at_ns) in enumerate(begun)
    ]  # fmt: skip
    store.write(Writes(begun=begun, ended=ended))
    return runs


def _info(run: str, user: str, **info: Any) -> RunInfo:
    facts: dict[str, Any] = {
        "workflow": "helpdesk", "version": "1", "digest": "d" * 64, "session": "", "environment": "", "release": "",
        "shadow": False, "request": "How?",
    } | info  # fmt: skip
    return RunInfo(run_id=run, trace_id=trace_id(run), user=user, **facts)
