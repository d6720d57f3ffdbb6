"""Edits of a state: the new fields are merged over it, and the last branch is decided again.

Requester, history and tool results cannot be edited; the trail records the edit.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from sluicegate.errors import RunError, nearest
from sluicegate.graphs.runtime.build import decide
from sluicegate.state import Intent, State, TrailEntry

if TYPE_CHECKING:
    from sluicegate.graphs.config.load import Workflow

__all__ = ["edited"]

_FIXED = frozenset({"run", "trail", "principal", "tool_calls", "replies", "branches", "reserved"})


def edited(workflow: "Workflow", state: State, given: Mapping[str, Any], *, at: str) -> dict[str, Any]:
    """The update that an edit writes; an `intent` may be given by its label alone, with confidence 1.

    Raises `RunError` SG615 for a field that the state does not have or an edit may not touch.
    """
    update: dict[str, Any] = {}
    for key, value in given.items():
        update[key] = _laid_over(key, _intent(workflow, value) if key == "intent" else value, state)
    trail = state.get("trail", [])
    if trail:
        after = cast("State", {**state, **update})
        update["trail"] = [_decided_again(workflow, after, trail[-1], sorted(given), at)]
    return update


def _intent(workflow: "Workflow", given: Any) -> Any:
    said: Any = {"label": given, "confidence": 1.0} if isinstance(given, str) else given
    fields = cast("dict[str, Any]", said)
    if not isinstance(said, Mapping) or "label" not in fields:
        return fields
    label, intents = str(fields["label"]), workflow.config.intents
    if label not in intents:
        raise _unknown(f"{workflow.name} has no intent {label!r}", label, intents)
    said_of_it = dataclasses.asdict(intents[label].facts())
    known = {name: value for name, value in said_of_it.items() if name in Intent.__annotations__}
    return {**known, "out_of_scope": known["task"] == "out-of-scope", **fields}


def _laid_over(key: str, value: Any, state: State) -> Any:
    known = [name for name in State.__annotations__ if name not in _FIXED]
    if key not in known:
        raise _unknown(f"an edit cannot change {key!r}", key, known)
    there: Any = state.get(key)
    if not isinstance(value, Mapping):
        if isinstance(there, Mapping):
            raise RunError("SG615", f"{key} is a map", hint=f"Give the fields to change: {key}={{…}}")
        return value
    if there is None:
        raise RunError("SG615", f"no {key} yet", hint="Step until there is one")
    fields, given = cast("Mapping[str, Any]", there), cast("Mapping[str, Any]", value)
    for name in given:
        if name not in fields:
            raise _unknown(f"{key} has no field {name!r}", name, fields)
    return {**fields, **given}


def _decided_again(workflow: "Workflow", state: State, last: TrailEntry, changed: list[str], at: str) -> TrailEntry:
    flow = workflow.flow
    branch = decide(flow, flow.nodes[last["node"]], workflow.conditions, state)
    reason = f"edited: {', '.join(changed)}; {branch['reason']}"
    return {**last, "kind": "edit", "at": at, "ms": 0.0, "branch": {**branch, "reason": reason}}


def _unknown(what: str, name: str, known: Iterable[str]) -> RunError:
    near = nearest(name, known)
    return RunError("SG615", what, hint=f"Did you mean {near!r}?" if near else f"One of: {', '.join(known)}")
