"""Which state keys a run has written when it leaves a node: on some route, and on every route.

A kind says what it *may* write; what it does promises what it surely writes (a node that checks leaves `checks`). A
condition that reads what no node before it may have written is a mistake; one that reads what may be absent can be
neither true nor false, which matters for the proof that some branch is always taken.
"""

from collections.abc import Iterable, Iterator, Mapping

from sluicegate.errors import Problem
from sluicegate.graphs.conditions import Condition
from sluicegate.graphs.fields import UNSET, fields
from sluicegate.graphs.flow import Flow, FlowNode
from sluicegate.nodes.registry import Effect

__all__ = ["domains", "never_written"]

_PROMISED: Mapping[Effect, frozenset[str]] = {
    "classifies": frozenset({"intent", "route"}),
    "decides-policy": frozenset({"policy"}),
    "calls-tool": frozenset({"tool_calls"}),
    "checks": frozenset({"checks"}),
    "asks-human": frozenset({"approval"}),
}


def _promised(node: FlowNode) -> frozenset[str]:
    named = frozenset(key for effect, keys in _PROMISED.items() if effect in node.effects for key in keys)
    return named | {"cache"} if node.kind == "cache-lookup" else named


def _written(flow: Flow, *, surely: bool) -> Mapping[str, frozenset[str]]:
    """The keys written when a run leaves each node that is reached: on every route, or on some."""
    found: dict[str, frozenset[str]] = {}
    waiting: list[tuple[str, frozenset[str]]] = [(flow.start, frozenset())]
    while waiting:
        name, before = waiting.pop()
        node = flow.nodes[name]
        after = before | (_promised(node) if surely else node.writes)
        if name in found:
            # routes that meet: what all of them wrote, or any of them
            after = after & found[name] if surely else after | found[name]
            if after == found[name]:
                continue
        found[name] = after
        waiting += [(edge.to, after) for edge in node.edges]
    return found


def _reads(flow: Flow, conditions: Mapping[str, Condition], names: Iterable[str]) -> Iterator[tuple[str, int, str]]:
    """Every field that a branch reads and that has no value from the start: node, branch, field."""
    known = fields()
    for name in names:
        for position, edge in enumerate(flow.nodes[name].edges):
            if edge.condition is not None:
                for field in sorted(conditions[edge.condition].fields):
                    if not known[field].initial:
                        yield name, position, field


def never_written(flow: Flow, conditions: Mapping[str, Condition]) -> list[Problem]:
    """SG124: conditions that read what no node before them writes, on any route."""
    possible = _written(flow, surely=False)
    problems: list[Problem] = []
    for name, position, field in _reads(flow, conditions, possible):
        key = fields()[field].key
        if key in possible[name]:
            continue
        writers = tuple(node.name for node in flow.nodes.values() if key in node.writes)
        place = flow.nodes[name].edges[position].place
        mend = "Put the node that writes it before this one" if writers else "Add a node that writes it"
        problems.append(
            Problem("SG124", f"{field} has no value at {name!r}: nothing before writes it", place, writers, mend=mend)
        )
    return problems


def domains(flow: Flow, conditions: Mapping[str, Condition]) -> dict[str, tuple[object, ...]]:
    """The values that conditions can see of fields with few of them; `UNSET` where it may not be written yet."""
    sure = _written(flow, surely=True)
    open_fields = {field for name, _, field in _reads(flow, conditions, sure) if fields()[field].key not in sure[name]}
    found: dict[str, tuple[object, ...]] = {}
    for name, field in fields().items():
        values: tuple[object, ...] = (True, False) if field.type == "bool" else field.choices
        if values:
            found[name] = (*values, UNSET) if name in open_fields else values
    return found
