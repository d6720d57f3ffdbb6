"""The items of the lists that a run goes over, or has gone over, each with what has become of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sluicegate.nodes.kinds.control.for_each import ForEach
from sluicegate.state import State

__all__ = ["ListItem", "items_of"]


@dataclass(frozen=True, slots=True)
class ListItem:
    node: str
    """The `for-each`."""
    index: int
    status: Literal["to do", "done", "failed"]
    value: Any = None
    """The element of the list; None of one that has failed, once the list is done."""
    way: tuple[str, ...] = ()
    """The nodes that were visited for it."""
    reason: str = ""
    """Why it failed, with its code first."""


def items_of(state: State, settings: Mapping[str, Any]) -> Iterator[ListItem]:
    """Of the lists that are done in the order of the trail, then of those under way; of one that was gone over several
    times, the last. `settings` are those of the workflow's nodes."""
    last = {entry["node"]: entry["items"] for entry in state.get("trail", []) if "items" in entry}
    for node, trails in last.items():
        own: ForEach = settings[node]
        values = {each["index"]: each["value"] for each in (state.get("items") or {}).get(own.collect, ())}
        failures = {one["index"]: one for one in (state.get("failed_items") or {}).get(own.collect, ())}
        for each in trails:
            index, way = each["index"], tuple(entry["node"] for entry in each["trail"])
            if one := failures.get(index):
                yield ListItem(node, index, "failed", None, way, f"{one['code']} {one['reason']}")
            else:
                yield ListItem(node, index, "done", values.get(index), way)
    for node, progress in (state.get("maps") or {}).items():
        ended = {one["index"]: one for one in progress.get("done", ())}
        for index, value in enumerate(progress.get("elements", ())):
            one = ended.get(index)
            way = tuple(entry["node"] for entry in one["trail"]) if one else ()
            if one and (failure := one.get("failure")):
                yield ListItem(node, index, "failed", value, way, f"{failure['code']} {failure['reason']}")
            else:
                yield ListItem(node, index, "done" if one else "to do", value, way)
