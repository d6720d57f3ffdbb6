"""What a run may do at a node, as far as can be known before it happens.

A *world* is what stays known of a run: of the principal and of the request, which no node changes, one world for each
combination of the values that conditions can tell apart; and of the intent, nothing before a node classified the
request, and one world per intent after. A condition is evaluated with three values (true, false, unknown); fields with
few values, or few that conditions can tell apart, are enumerated, so that conditions of one branch list see the same.
A branch is possible when it is not false and no earlier branch that is true, or asks the same, must have been taken. A
branch to a node whose visits are used up is skipped; that can only happen on a cycle through this node.

A node with an error branch may fail in any world. It has then written nothing: the run goes on in the world in which it
came, and where a node reads what only this one writes, *unset* is possible.

At run time a condition that needs an unwritten field does not hold, and neither does its negation. So *unset* is
one more value of every field, except where each path to the node passes one that is certain to write it.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from sluicegate.graphs.conditions.fields import UNSET, fields, fit_together
from sluicegate.graphs.proofs.contracts import left_by, within
from sluicegate.graphs.proofs.fanout.forks import branches_of, in_sequence
from sluicegate.graphs.proofs.flow import Edge, Flow, FlowNode, Known
from sluicegate.graphs.proofs.shape import components, reached, successors

__all__ = ["Known", "Semantics", "Values"]


Values: TypeAlias = tuple[bool | None, ...]
"""What each branch condition of a node is, in branch order."""

MAX_VALUATIONS = 64
"""Combinations of values that are tried at one node, and of the request and the principal; beyond it the widest fields
stay unknown."""


_STEADY_REQUEST = frozenset(
    {"request.id", "request.channel", "request.received_at", "request.language", "request.size"}
)
"""Fields that policy-check, which may redact the request's text, and condense do not change."""
_OF_THE_WORDS = frozenset({"request.language", "request.size"})
"""Those that change when the requester adds words."""


class Semantics:
    """A flow with the possible branches of every node in every world, computed once each.

    `domains` lists the values of a field that conditions can tell apart.
    """

    def __init__(self, flow: Flow, known: Known, domains: Mapping[str, Sequence[object]]) -> None:
        self.flow = flow
        self.sequence = in_sequence(flow)
        """The flow with its branches one after another, in which a run can be followed as in one without forks."""
        self.forks = branches_of(flow)
        """The forks by name, inner ones first."""
        self.known = known
        self.domains = domains
        nodes = flow.nodes.values()
        self._principal_steady = not any("principal" in node.writes for node in nodes)
        self._request_steady = not any(
            "request" in node.writes and node.effects.isdisjoint(("condenses", "decides-policy", "asks-requester"))
            for node in nodes
        )
        self._words_steady = not any("asks-requester" in node.effects for node in nodes)
        intents: tuple[dict[str, object], ...] = (
            {},
            *map(flow.known_of, flow.intents),
        )
        self._width = len(intents)
        given = _combinations({field: values for field, values in domains.items() if self.steady(field)})
        self.worlds: tuple[dict[str, object], ...] = tuple({**facts, **intent} for facts in given for intent in intents)
        self.starts = range(0, len(self.worlds), self._width)
        """The worlds in which a run can begin."""
        self._only_classified = all(
            "intent" not in node.writes or ("classifies" in node.effects and self._width > 1) for node in nodes
        )
        self._component = components(successors(flow))
        self._truths: dict[tuple[str, tuple[tuple[str, object], ...]], bool | None] = {}
        self._conditions: dict[tuple[str, str | None], tuple[list[str | None], tuple[str, ...]]] = {}
        self._valuations: dict[tuple[object, ...], tuple[Values, ...]] = {}
        self._possible: dict[tuple[object, ...], tuple[int, ...]] = {}
        self._unset: dict[str, set[str]] = {}
        self._children: dict[tuple[int, frozenset[str] | None], Semantics] = {}

    def child(self, name: str, *, afterwards: bool) -> "Semantics":
        """The child of a node, by what it does, or by what its parent is concerned with `afterwards`; the same object
        for nodes to which it is the same."""
        contract = self.flow.nodes[name].child
        assert contract is not None
        key = (id(contract.flow), contract.takes if afterwards else None)
        if key not in self._children:
            flow = within(contract) if key[1] is None else left_by(contract)
            self._children[key] = Semantics(flow, contract.known, contract.domains)
        return self._children[key]

    def left_certainly(self, key: str) -> bool:
        """Whether every run has written a state key when it ends."""
        return not any(not self.flow.nodes[name].edges for name in self._left_without(key))

    def steady(self, field: str) -> bool:
        """Whether a field has one value throughout a run, of those that a run begins with."""
        if field.startswith("principal."):
            return self._principal_steady
        if field in _OF_THE_WORDS and not self._words_steady:
            return False
        return field in _STEADY_REQUEST and self._request_steady

    def classified(self, world: int) -> bool:
        return world % self._width > 0

    def labels(self, worlds: Iterable[int]) -> tuple[str, ...]:
        """The intents of these worlds, in the order of the config."""
        labels = ("", *self.flow.intents)
        return tuple(labels[place] for place in sorted({world % self._width for world in worlds}) if place)

    def start(self, world: int) -> int:
        """The world in which a run began that is in `world` now."""
        return world - world % self._width

    def kin(self, world: int) -> range:
        """The worlds in which a run can be that began as one that is in `world` now."""
        return range(self.start(world), self.start(world) + self._width)

    def worlds_after(self, node: FlowNode, world: int) -> Sequence[int]:
        """The worlds in which a run can leave a node that it entered in `world`."""
        first = self.start(world)
        if "classifies" in node.effects:
            return range(first + 1, first + self._width) if self._width > 1 else (first,)
        return (first,) if "intent" in node.writes | node.forgets else (world,)

    def exhaustible(self, source: str, edge: Edge) -> bool:
        """True when the target's visits can be used up as the branch is tried: only if the target leads back here."""
        bounded = self.flow.nodes[edge.to].max_visits is not None and not self.flow.nodes[source].returns(edge)
        return bounded and self._component[source] == self._component[edge.to]

    def counted(self) -> tuple[str, ...]:
        """The nodes whose visits can be used up at some branch."""
        return tuple(
            dict.fromkeys(
                edge.to for name, node in self.flow.nodes.items() for edge in node.ways if self.exhaustible(name, edge)
            )
        )

    def truth(self, condition: str, world: int) -> bool | None:
        """What a condition is in a world."""
        facts = self.worlds[world]
        return self._truth(condition, {name: facts[name] for name in self.known.reads(condition) if name in facts})

    def valuations(self, name: str, world: int, where: str | None = None) -> tuple[Values, ...]:
        """Every combination of values that a node's branch conditions can have in a world; `where`'s comes last."""
        conditions, reads = self._asked(name, where)
        facts = {field: self.worlds[world][field] for field in reads if field in self.worlds[world]}
        if self._only_classified and not self.classified(world):
            facts |= {field: UNSET for field in reads if field.startswith("intent.")}
        key = (name, _hashable(facts), self.classified(world), where)
        if key not in self._valuations:
            found = dict.fromkeys(
                tuple(self._value(condition, {**facts, **values}) for condition in conditions)
                for values in self._assignments(name, reads, facts, classified=self.classified(world))
            )
            self._valuations[key] = tuple(found)
        return self._valuations[key]

    def _asked(self, name: str, where: str | None) -> tuple[list[str | None], tuple[str, ...]]:
        """A node's branch conditions, `where` last, and what they read."""
        if (name, where) not in self._conditions:
            found = [edge.condition for edge in self.flow.nodes[name].edges]
            found += [] if where is None else [where]
            fields = (field for each in found if each is not None for field in sorted(self.known.reads(each)))
            self._conditions[name, where] = found, tuple(dict.fromkeys(fields))
        return self._conditions[name, where]

    def can(self, name: str, world: int, where: str) -> bool:
        """Whether `where` may hold as a run leaves a node."""
        return any(values[-1] is not False for values in self.valuations(name, world, where))

    def possible(self, name: str, world: int, where: str | None = None, *, holds: bool = True) -> tuple[int, ...]:
        """The branches that some run may take, whatever it has visited, of a fork all; indices into the node's edges.

        Given `where`, only those of runs for which it certainly holds as they leave, or does not.
        """
        key = (name, world, where, holds)
        if key not in self._possible:
            node = self.flow.nodes[name]
            if node.join:
                return tuple(range(len(node.edges)))
            available = [None if self.exhaustible(name, edge) else True for edge in node.edges]
            self._possible[key] = self._choices(name, world, available, where, holds)
        return self._possible[key]

    def possible_after(
        self, name: str, world: int, visits: Mapping[str, int], where: str | None = None, *, holds: bool = True
    ) -> tuple[int, ...]:
        """The same for a run that has visited the nodes of `counted` this often."""
        node = self.flow.nodes[name]
        if node.join:
            return self.possible(name, world)
        available: list[bool | None] = [node.returns(edge) or self.flow.left(edge, visits) for edge in node.edges]
        return self._choices(name, world, available, where, holds)

    def _choices(
        self, name: str, world: int, available: Sequence[bool | None], where: str | None, holds: bool
    ) -> tuple[int, ...]:
        edges = self.flow.nodes[name].edges
        found: set[int] = set()
        for values in self.valuations(name, world, where):
            if where is not None:
                if values[-1] is (not holds):
                    continue
                # a branch with the same condition has the same result
                values = tuple(
                    holds if edge.condition == where else value for edge, value in zip(edges, values, strict=False)
                )
            found |= _takeable(edges, values, available)
        return tuple(sorted(found))

    def _certainly_set(self, name: str, field: str) -> bool:
        """True when a run that leaves a node has a value for a field, whatever its path."""
        known_field = fields().get(field)
        if known_field is None:
            return False
        return known_field.initial or (not known_field.optional and name not in self._left_without(known_field.key))

    def _left_without(self, key: str) -> set[str]:
        """The nodes that a run can leave with a state key not written yet."""
        if key not in self._unset:
            nodes = self.sequence.nodes
            going_on = {
                # a node that fails writes nothing
                name: tuple(
                    edge.to
                    for edge in (*(() if key in node.always_writes else node.edges), *node.ways[len(node.edges) :])
                    # what was written for an item stays with it
                    if not node.returns(edge)
                )
                + ((node.do,) if node.do else ())
                for name, node in nodes.items()
            }
            forgetting = [node for node in nodes.values() if key in node.forgets]
            found = reached([self.flow.start], going_on)
            found |= reached([edge.to for node in forgetting for edge in node.edges], going_on)
            self._unset[key] = {name for name in found if key not in nodes[name].always_writes}
            self._unset[key] |= {node.name for node in forgetting}
        return self._unset[key]

    def _assignments(
        self, name: str, reads: Sequence[str], facts: Mapping[str, object], *, classified: bool
    ) -> Iterator[dict[str, object]]:
        open_fields = [
            field
            for field in reads
            # a plug-in that writes an intent without classifying may write any value
            if field in self.domains and field not in facts and (classified or not field.startswith("intent."))
        ]
        every = _combinations(
            {
                field: (*self.domains[field], *(() if self._certainly_set(name, field) else (UNSET,)))
                for field in open_fields
            }
        )
        yield from filter(fit_together, every)

    def _value(self, condition: str | None, facts: Mapping[str, object]) -> bool | None:
        if condition is None:
            return True
        reads = self.known.reads(condition)
        value = self._truth(condition, {name: facts[name] for name in reads if facts.get(name, UNSET) is not UNSET})
        # nothing else could decide it: what is unknown at run time does not hold
        return False if value is None and all(field in facts for field in reads) else value

    def _truth(self, condition: str, facts: Mapping[str, object]) -> bool | None:
        key = (condition, _hashable(facts))
        if key not in self._truths:
            self._truths[key] = self.known(condition, facts)
        return self._truths[key]


def _combinations(choices: Mapping[str, Sequence[object]]) -> Iterator[dict[str, object]]:
    """Every combination of the fields' values, without the widest fields where there are more than `MAX_VALUATIONS`."""
    size, kept = 1, list[str]()
    for field in sorted(choices, key=lambda field: len(choices[field])):
        size *= len(choices[field])
        if size > MAX_VALUATIONS:
            break
        kept.append(field)
    for values in itertools.product(*(choices[field] for field in kept)):
        yield dict(zip(kept, values, strict=True))


def _hashable(facts: Mapping[str, object]) -> tuple[tuple[str, object], ...]:
    # the type too: in Python 1 == True == 1.0
    return tuple(sorted((name, f"{type(value).__name__}:{value!r}") for name, value in facts.items()))


def _takeable(edges: Sequence[Edge], values: Values, available: Sequence[bool | None]) -> set[int]:
    """The branches that can be the first to hold; `available` is None where visits may be used up."""
    found: set[int] = set()
    said_no: set[str | None] = set()
    for index, (edge, value, free) in enumerate(zip(edges, values, available, strict=True)):
        if free is False or value is False or edge.condition in said_no:
            continue
        found.add(index)
        if free and value:
            break
        if free:
            said_no.add(edge.condition)
    return found
