"""What differs between two states: field by field for a step, fact by fact for two runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from sluicegate.state import State

__all__ = ["Difference", "differences", "facts", "facts_differ"]

_BOOKKEEPING = frozenset({"trail", "request", "principal"})
"""Not what a step changed: the trail is shown as the decision that was taken."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same; None where it is absent."""

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


def facts(state: State, *, waiting: bool = False) -> dict[str, Any]:
    """What a run came to, in the few facts that people compare."""
    intent, answer, checks, spend = state.get("intent"), state.get("answer"), state.get("checks"), state.get("spend")
    approval, trail, route = state.get("approval"), state.get("trail", []), state.get("route", {})
    return {
        "workflow": f"{state['run']['workflow']} {state['run']['version']}",
        "status": "waiting" if waiting else state["run"]["status"],
        "intent": intent["label"] if intent else None,
        "confidence": intent["confidence"] if intent else None,
        "threshold": route.get("threshold"),
        "path": "human" if waiting else route.get("path"),
        "way": [entry["node"] for entry in trail if entry["kind"] != "edit"],
        "documents": [f"{document['id']}@{document['version']}" for document in state.get("documents", [])],
        "answer": answer["text"] if answer else None,
        "answer confidence": answer["confidence"] if answer else None,
        "model": answer["model"] if answer else None,
        "prompt": f"{answer['prompt']} {answer['prompt_hash'][:8]}".strip() if answer else None,
        "failed checks": checks["failures"] if checks else None,
        "approval": approval["verdict"] if approval else None,
        "tools": [f"{call['tool']}: {call['status']}" for call in state.get("tool_calls", [])],
        "usd": spend["usd"] if spend else 0.0,
        "tokens": spend["prompt_tokens"] + spend["completion_tokens"] if spend else 0,
        "ms": round(sum(entry["ms"] for entry in trail), 1),
    }


def facts_differ(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """The facts of two runs that differ; times are never the same and do not count."""
    return [
        Difference(name, before.get(name), after.get(name))
        for name in dict.fromkeys([*before, *after])
        if name != "ms" and before.get(name) != after.get(name)
    ]
