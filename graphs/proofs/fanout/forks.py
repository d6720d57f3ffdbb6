"""Forks: which nodes each branch has, whether the branches come together, and the flow with them one after another.

A branch is all that is reached from its first node before the join. It is entered through its first node, by its fork,
and left by coming to the join. So every interleaving of the branches is some order of their steps, and because they
share nothing that one of them writes (`interference`), all orders have the result of one branch after another: what
is proved of `in_sequence` about the run as a whole holds for every interleaving.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from sluicegate.errors import Problem
from sluicegate.graphs.proofs.flow import Edge, Flow, FlowNode
from sluicegate.graphs.proofs.shape import reached, successors

__all__ = ["Branches", "branches_of", "in_sequence", "prove_forks"]

_PAUSES = frozenset({"asks-human", "asks-requester", "waits"})
"""Effects of nodes at which a run waits, for which a branch has no place."""


@dataclass(frozen=True, slots=True)
class Branches:
    """A fork with the nodes of its branches."""

    fork: str
    join: str
    members: tuple[frozenset[str], ...]
    """The nodes of each branch, in the order of the fork's edges; inner forks and their branches too."""

    @property
    def inside(self) -> frozenset[str]:
        return frozenset[str]().union(*self.members)


def branches_of(flow: Flow) -> Mapping[str, Branches]:
    """The forks of a flow by name, inner ones before those that they are in."""
    targets = successors(flow)
    found = [
        Branches(node.name, node.join, tuple(_branch(edge.to, node.join, targets) for edge in node.edges))
        for node in flow.nodes.values()
        if node.join
    ]
    return {each.fork: each for each in sorted(found, key=lambda each: len(each.inside))}


def _branch(first: str, join: str, targets: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
    found, waiting = {first}, [first]
    while waiting:
        for target in targets[waiting.pop()]:
            if target != join and target not in found:
                found.add(target)
                waiting.append(target)
    return frozenset(found)


def in_sequence(flow: Flow) -> Flow:
    """The flow with each fork's branches one after another: what leads to the join from one branch leads to the first
    node of the next. Only of a flow without problems of `prove_forks`. Edges keep their positions, but for a fork's:
    only the first is left."""
    nodes = dict(flow.nodes)
    for one in branches_of(flow).values():
        firsts = [edge.to for edge in flow.nodes[one.fork].edges]
        for members, following in zip(one.members, firsts[1:], strict=False):
            for name in members:
                nodes[name] = _redirected(nodes[name], one.join, following)
        nodes[one.fork] = replace(nodes[one.fork], edges=nodes[one.fork].edges[:1])
    return replace(flow, nodes=nodes)


def _redirected(node: FlowNode, join: str, following: str) -> FlowNode:
    if all(edge.to != join for edge in node.ways):
        return node

    def put(edge: Edge) -> Edge:
        return replace(edge, to=following) if edge.to == join else edge

    return replace(node, edges=tuple(map(put, node.edges)), on_error=node.on_error and put(node.on_error))


def prove_forks(flow: Flow) -> list[Problem]:
    """SG139, in the order of the config."""
    forks = branches_of(flow)
    if not forks:
        return []
    targets = successors(flow)
    sources: dict[str, list[str]] = {name: [] for name in flow.nodes}
    for name, following in targets.items():
        for target in following:
            sources[target].append(name)
    found: list[Problem] = []
    for name in flow.nodes:
        if name in forks:
            shape = _Shape(flow, forks[name], targets, sources)
            found += shape.unsuited() if shape.closed() else shape.open_branches()
    return found


@dataclass(frozen=True, slots=True)
class _Shape:
    flow: Flow
    one: Branches
    targets: Mapping[str, tuple[str, ...]]
    sources: Mapping[str, list[str]]

    def _each(self) -> Iterator[tuple[Edge, frozenset[str], str]]:
        for edge, members in zip(self.flow.nodes[self.one.fork].edges, self.one.members, strict=True):
            yield edge, members, f"the branch {edge.to!r} of {self.one.fork!r}"

    def closed(self) -> bool:
        """Whether each branch is entered by the fork only and left to the join only. It takes time for the branches
        alone; why one is open is only asked when it is."""
        join, fork = self.one.join, self.one.fork
        for edge, members, _ in self._each():
            if edge.to == join or fork in members or self.flow.start in members:
                return False
            if not any(join in self.targets[name] for name in members):
                return False
            for name in members:
                if not self.targets[name]:
                    return False
                if any(other not in members and (other, name) != (fork, edge.to) for other in self.sources[name]):
                    return False
        return True

    def unsuited(self) -> Iterator[Problem]:
        """What is wrong inside of branches that are closed."""
        for _, members, branch in self._each():
            for name in members:
                node = self.flow.nodes[name]
                if node.effects & _PAUSES:
                    why = "waits" if "waits" in node.effects else "waits for a person"
                    what = f"{name!r} in {branch} {why}, which a branch cannot"
                    hint = f"Put it before {self.one.fork!r} or after {self.one.join!r}"
                    yield Problem("SG139", what, node.place, hint=hint)
                if node.child:
                    what = f"{name!r} in {branch} runs another workflow, for which a branch has no place"
                    hint = f"Put it before {self.one.fork!r} or after {self.one.join!r}"
                    yield Problem("SG139", what, node.place, hint=hint)
                if node.join and node.join != self.one.join and node.join not in members:
                    what = f"{name!r} in {branch} joins at {node.join!r}, outside of it"
                    hint = f"Let it join at a node of the same branch, or at {self.one.join!r}"
                    yield Problem("SG139", what, node.place, hint=hint)

    def open_branches(self) -> Iterator[Problem]:
        fork, join, nodes = self.one.fork, self.one.join, self.flow.nodes
        joining = reached([join], {name: () if name == fork else before for name, before in self.sources.items()})
        beyond = reached([join], {**self.targets, fork: ()}) - {fork}
        for edge, members, branch in self._each():
            if edge.to == join:
                what, hint = f"{branch} is empty: it is the join", "Name the first node of a branch, or remove it"
                yield Problem("SG139", what, edge.place, hint=hint)
                continue
            if edge.to not in joining:
                what = f"{branch} never comes to the join {join!r}"
                yield Problem("SG139", what, edge.place, hint=f"Let its last node go to {join!r}")
                continue
            for name in members & joining - beyond - {fork}:
                for way in nodes[name].ways:
                    if way.to != join and (way.to == fork or way.to in beyond or way.to not in joining):
                        what = f"{branch} is left by {name!r}, which goes to {way.to!r} instead of the join {join!r}"
                        hint = f"Let it go to {join!r}, and branch there"
                        yield Problem("SG139", what, way.place or nodes[name].place, hint=hint)
                others = [each for each in self.sources[name] if each not in members]
                others += [fork] if fork in self.sources[name] and name != edge.to else []
                others += ["the start"] if name == self.flow.start else []
                for other in dict.fromkeys(each for each in others if (each, name) != (fork, edge.to)):
                    what = f"{name!r} is a node of {branch}, and {other!r} leads to it too"
                    hint = "Give each branch nodes of its own, which only its fork leads to"
                    yield Problem("SG139", what, nodes[name].place, hint=hint)
