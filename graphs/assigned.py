"""What conditions read: whether any node before them may have written it, and which values it can have.

A kind says what it *may* write. A condition that reads what no node before it may have written is a mistake.
"""

from collections.abc import Iterable, Iterator, Mapping

from sluicegate.errors import Problem
from sluicegate.graphs.conditions import Condition
from sluicegate.graphs.fields import fields
from sluicegate.graphs.flow import Flow

__all__ = ["domains", "never_written"]


def _may_be_written(flow: Flow) -> Mapping[str, frozenset[str]]:
    """The keys that a run may have written, on some route, when it leaves each node that is reached."""
    found: dict[str, frozenset[str]] = {}
    waiting: list[tuple[str, frozenset[str]]] = [(flow.start, frozenset())]
    while waiting:
        name, before = waiting.pop()
        node = flow.nodes[name]
        after = before | node.writes | found.get(name, frozenset())
        if found.get(name) != after:
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
    possible = _may_be_written(flow)
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


def domains() -> dict[str, tuple[object, ...]]:
    """Every value of the fields that have few of them."""
    values = {name: (True, False) if field.type == "bool" else field.choices for name, field in fields().items()}
    return {name: each for name, each in values.items() if each}
