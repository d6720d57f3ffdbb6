"""Totality: at every node that a run can reach, some branch is taken; and every branch is taken by some run.

A branch list is total when in every world and for every combination of values one branch is certain: its condition is
true and its target's visits cannot be used up. Then no run gets stuck, and with bounded cycles every run ends.
"""

from collections.abc import Iterator, Mapping, Sequence

from sluicegate.errors import Problem
from sluicegate.graphs.proofs.flow import FlowNode
from sluicegate.graphs.proofs.semantics import Semantics

__all__ = ["prove_totality"]


def prove_totality(semantics: Semantics) -> list[Problem]:
    """SG132, and as warnings SG136, in the order of the config."""
    worlds = _worlds_left(semantics)
    problems: list[Problem] = []
    flow = semantics.flow
    for name, node in flow.nodes.items():
        if node.join:
            problems += _used_up(semantics, node)
        elif node.edges and name in worlds:
            problems += _not_total(semantics, node, worlds[name])
            problems += _never_taken(semantics, node, worlds[name])
        if node.on_error and semantics.exhaustible(name, node.on_error):
            to = node.on_error.to
            what = f"{name!r} may fail when its `on_error`, {to!r}, has used up its {flow.nodes[to].max_visits} visits"
            hint = "Let `on_error` name a node without max_visits, or one from which no run comes back"
            problems.append(Problem("SG132", what, node.on_error.place, hint=hint))
    return problems


def _used_up(semantics: Semantics, fork: FlowNode) -> Iterator[Problem]:
    """A fork takes every branch, so the first node of each must have visits left."""
    for edge in fork.edges:
        if semantics.exhaustible(fork.name, edge):
            visits = semantics.flow.nodes[edge.to].max_visits
            what = f"{fork.name!r} may begin its branch {edge.to!r} when its {visits} visits are used up"
            yield Problem("SG132", what, edge.place, hint=f"Give {fork.name!r} the max_visits instead")


def _worlds_left(semantics: Semantics) -> Mapping[str, list[int]]:
    """The worlds in which a run can leave each node; nodes that no run reaches are absent."""
    flow = semantics.sequence
    waiting = [(flow.start, world) for world in semantics.starts]
    seen = set(waiting)
    left: dict[str, dict[int, None]] = {}
    while waiting:
        name, arrived = waiting.pop()
        node = flow.nodes[name]
        apart = [node.on_error.to] if node.on_error and not node.returns(node.on_error) else []
        for to in (*apart, *([node.do] if node.do else [])):
            if (to, arrived) not in seen:
                seen.add((to, arrived))
                waiting.append((to, arrived))
        for world in semantics.worlds_after(node, arrived):
            if world in left.setdefault(name, {}):
                continue
            left[name][world] = None
            for index in semantics.possible(name, world) if not node.join else (0,):
                following = (node.edges[index].to, world)
                if following not in seen and not node.returns(node.edges[index]):
                    seen.add(following)
                    waiting.append(following)
    return {name: sorted(found) for name, found in left.items()}


def _not_total(semantics: Semantics, node: FlowNode, worlds: list[int]) -> list[Problem]:
    sure = [not semantics.exhaustible(node.name, edge) for edge in node.edges]
    missing = [
        world
        for world in worlds
        if any(
            not any(value and lasting for value, lasting in zip(values, sure, strict=True))
            for values in semantics.valuations(node.name, world)
        )
    ]
    if not missing:
        return []
    last = node.edges[-1]
    if last.condition is None and not sure[-1]:
        visits = semantics.flow.nodes[last.to].max_visits
        why = f"its last branch goes to {last.to!r}, whose {visits} visits can be used up"
        hint = "End the list with an `otherwise` to a node without max_visits"
    else:
        labels = semantics.labels(missing)
        only_some = labels and set(labels) < set(semantics.labels(worlds))
        why = f"no branch is certain for {_listing(labels)}" if only_some else "no branch is certain to be taken"
        hint = "End the list with `otherwise`"
    return [Problem("SG132", f"the branches of {node.name!r} are not exhaustive: {why}", node.place, hint=hint)]


def _never_taken(semantics: Semantics, node: FlowNode, worlds: list[int]) -> list[Problem]:
    taken = {index for world in worlds for index in semantics.possible(node.name, world)}
    problems: list[Problem] = []
    for index, edge in enumerate(node.edges):
        if index in taken:
            continue
        branch = "otherwise" if edge.condition is None else repr(edge.condition)
        impossible = all(
            values[index] is False for world in worlds for values in semantics.valuations(node.name, world)
        )
        why = "its condition is false whenever a run gets here" if impossible else "an earlier branch is always taken"
        problems.append(
            Problem(
                "SG136",
                f"branch {branch} of {node.name!r} to {edge.to!r} is never taken: {why}",
                edge.place or node.place,
                hint="Move it up, change it or remove it",
                severity="warning",
            )
        )
    return problems


def _listing(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:5])
    return f"{'intent' if len(labels) == 1 else 'intents'} {shown}" + (
        f" and {len(labels) - 5} more" if len(labels) > 5 else ""
    )
