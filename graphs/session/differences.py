"""Differences between two states: field by field for a step, fact by fact for two runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from sluicegate.run_summary import RunSummary

__all__ = ["Difference", "differences", "facts", "facts_differ"]

_BOOKKEEPING = frozenset({"trail", "request", "principal", "branches", "reserved"})
"""Fields not shown as changes of a step: the trail is shown as the decision taken, branches as what came of them."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference; None where a value is absent."""

    field: str
    before: Any
    after: Any


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """The fields that differ, by their path, such as ``intent.label``, in the order of the state."""
    found: list[Difference] = []
    for key in dict.fromkeys([*before, *after]):
        if key not in _BOOKKEEPING:
            _compare(key, before.get(key), after.get(key), found)
    return [each for each in found if not each.field.startswith("run.visits")]


def _compare(path: str, before: Any, after: Any, found: list[Difference]) -> None:
    if before == after:
        return
    if isinstance(after, Mapping) and (before is None or isinstance(before, Mapping)):
        old, new = cast("Mapping[str, Any]", before or {}), cast("Mapping[str, Any]", after)
        for key in dict.fromkeys([*old, *new]):
            _compare(f"{path}.{key}", old.get(key), new.get(key), found)
    else:
        found.append(Difference(path, before, after))


def facts(summary: RunSummary) -> dict[str, Any]:
    """The outcome of a run in a few comparable facts."""
    return {
        "workflow": f"{summary.workflow} {summary.version}",
        "status": summary.status,
        "intent": summary.intent,
        "confidence": summary.confidence,
        "threshold": summary.threshold,
        "path": summary.path,
        "way": summary.way,
        "documents": summary.documents,
        "answer": summary.answer,
        "answer confidence": summary.answer_confidence,
        "model": summary.model,
        "prompt": None if summary.prompt is None else f"{summary.prompt} {(summary.prompt_hash or '')[:8]}".strip(),
        "failed checks": summary.failed_checks,
        "approval": summary.approval,
        "tools": summary.tools,
        "usd": summary.usd,
        "tokens": summary.tokens,
        "ms": round(summary.nodes_ms, 1),
    }


def facts_differ(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """The facts of two runs that differ; times are never the same and do not count."""
    return [
        Difference(name, before.get(name), after.get(name))
        for name in dict.fromkeys([*before, *after])
        if name != "ms" and before.get(name) != after.get(name)
    ]
