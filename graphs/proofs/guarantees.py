"""Guarantees: properties of every run, proved by searching for a run that breaks them.

A node D dominates a node N exactly when N cannot be reached once D is taken out of the graph (F. Allen and J. Cocke,
A catalogue of optimizing transformations, 1972); post-dominance is the same towards the ends. So a guarantee is a
search for a forbidden run in the product of the graph, the worlds of `semantics`, and one bit: *is a node still owed?*
It is linear in that product. A run that is found is searched again with every visit counted, so that the path
shown is the shortest that really exists; where that takes more than `MAX_STATES` steps the uncounted one is shown.
"""

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sluicegate.errors import Place, Problem, nearest
from sluicegate.graphs.proofs.flow import FlowNode
from sluicegate.graphs.proofs.semantics import Semantics

__all__ = ["BUILT_IN", "Broken", "Guarantee", "Hop", "Waiver", "broken", "prove_guarantees"]

MAX_STATES = 10_000
"""Limit of the search that counts visits."""


@dataclass(frozen=True, slots=True)
class Guarantee:
    """A property of every run. Nodes are named by kind or by effect, and `generates-answer` for what drafts an answer.

    With `no` and `without`: no node of `no` is reached without having passed one of `without`; given `after`, this is
    required only, and again, after each node of `after`. With `every` and `reaches`: a run that visits a node of
    `every` visits one of `reaches` later, before it ends.
    """

    no: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    when: str | None = None
    """A CEL condition that no node changes; the guarantee is proved for the intents for which it may hold."""
    where: str | None = None
    """A CEL condition as a run leaves a node of `after` or `every`; where it does not hold, nothing is required."""
    every: tuple[str, ...] = ()
    reaches: tuple[str, ...] = ()
    name: str = ""
    """Its name in waivers; only built-in guarantees have one."""
    place: Place | None = None
    text: str = ""
    """As the config words it."""

    def __str__(self) -> str:
        if self.text:
            return self.text
        where = f" where {self.where}" if self.where else ""
        if self.every:
            said = f"every {' or '.join(self.every)}{where} reaches {' or '.join(self.reaches)}"
        else:
            said = f"no {' or '.join(self.no)} without {' or '.join(self.without)}"
            said += f" after {' or '.join(self.after)}{where}" if self.after else ""
        return said + (f" when {self.when}" if self.when else "")


@dataclass(frozen=True, slots=True)
class Waiver:
    """A built-in guarantee that a workflow waives, with a written reason."""

    guarantee: str
    reason: str
    place: Place | None = None


BUILT_IN = (
    Guarantee(
        no=("generates", "calls-tool"),
        without=("decides-policy",),
        name="policy-first",
        text="no model answers and no tool is called before a policy-check",
    ),
    Guarantee(
        no=("respond",),
        without=("checks",),
        after=("generates-answer",),
        name="checked-answers",
        text="no generated answer is sent before an output-check",
    ),
    Guarantee(
        no=("generates", "calls-tool", "respond"),
        without=("decides-policy",),
        after=("decides-policy",),
        where="policy.verdict == 'deny'",
        name="denials-hold",
        text="a request denied by a policy-check gets no model output, no tool call and no answer",
    ),
    Guarantee(
        no=("respond",),
        without=("generates-answer", "checks", "asks-human"),
        after=("checks",),
        where="checks.failed",
        name="failures-hold",
        text="a draft that failed its output-check is not sent unless a human-interrupt comes first",
    ),
    Guarantee(
        no=("respond", "calls-tool"),
        without=("asks-human",),
        after=("asks-human",),
        where="!(approval.verdict in ['approve', 'edit'])",
        name="rejections-hold",
        text="what a person rejected, or nobody decided in time, is not sent and calls no tool",
    ),
)
"""Proved for every workflow that has such nodes."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of a path: a node and the branch by which it was left."""

    node: str
    condition: str | None
    """CEL text of the branch taken from here; None for an unconditional one, an ``otherwise`` and the last node."""
    branching: bool
    """True when the node has more than one branch."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A guarantee with the shortest path that breaks it."""

    guarantee: Guarantee
    route: tuple[Hop, ...]
    intents: tuple[str, ...]
    """Every intent for which a path breaks it, in the order of the config; empty before a node classified."""
    given: Mapping[str, object]
    """The requester's and the request's fields on the path; empty where they make no difference."""
    certain: bool
    """False when visits could not be counted to the end, and the path may need more visits than allowed."""


def prove_guarantees(semantics: Semantics, guarantees: Sequence[Guarantee], waivers: Sequence[Waiver]) -> list[Problem]:
    """SG134 and SG135."""
    problems = _bad_waivers(waivers)
    waived = {waiver.guarantee for waiver in waivers if is_reason(waiver.reason)}
    stated = {_meaning(semantics, guarantee) for guarantee in guarantees}
    built_in = [
        guarantee
        for guarantee in BUILT_IN
        if guarantee.name not in waived and _meaning(semantics, guarantee) not in stated
    ]
    for guarantee in (*built_in, *guarantees):
        unstable = _unstable(semantics, guarantee)
        if unstable is not None:
            problems.append(unstable)
            continue
        found = broken(semantics, guarantee)
        if found is not None:
            problems.append(_explained(found, semantics))
        elif guarantee in guarantees and (nothing := _asks_nothing(semantics, guarantee)):
            what = f"the guarantee {str(guarantee)!r} asks nothing of this workflow: {nothing}"
            hint = "Correct it, or remove it; it would be proved of any workflow like this one"
            problems.append(Problem("SG137", what, guarantee.place, hint=hint, severity="warning"))
    return problems


def _asks_nothing(semantics: Semantics, guarantee: Guarantee) -> str:
    """Why a guarantee holds whatever the graph looks like; empty when it does not."""
    for names in (guarantee.no, guarantee.after, guarantee.every):
        if names and not any(_is_any(node, names) for node in semantics.flow.nodes.values()):
            return f"it has no node that is {' or '.join(names)}"
    # before a node classified, nothing that an intent decides holds
    worlds = range(len(semantics.worlds))
    worlds = [world for world in worlds if semantics.classified(world)] or worlds
    if guarantee.when is not None and all(semantics.truth(guarantee.when, world) is False for world in worlds):
        return f"{guarantee.when} never holds"
    return ""


def broken(semantics: Semantics, guarantee: Guarantee) -> Broken | None:
    """The shortest path that breaks a guarantee; None when it is proved."""
    search = _Search(semantics, guarantee)
    rough = search.routes(counted=False)
    if not rough:
        return None
    exact = search.routes(counted=True)
    routes = rough if exact is None else exact
    if not routes:
        return None
    world = min(routes, key=lambda world: len(routes[world]))
    anywhere = {semantics.start(each) for each in routes} == {*semantics.starts}
    given = {} if anywhere else semantics.worlds[semantics.start(world)]
    return Broken(guarantee, routes[world], semantics.labels(routes), given, certain=exact is not None)


@dataclass(frozen=True, slots=True)
class _Step:
    """Where a search stands: at `node`, entered in `world`."""

    node: str
    world: int
    owed: bool
    visits: tuple[int, ...] = ()


@dataclass(slots=True)
class _Search:
    semantics: Semantics
    guarantee: Guarantee
    forbidden: frozenset[str] = field(init=False)
    paying: frozenset[str] = field(init=False)
    owing: frozenset[str] = field(init=False)
    asked: list[bool] = field(init=False)
    """Per world: may the guarantee's `when` hold?"""

    def __post_init__(self) -> None:
        guarantee = self.guarantee
        self.forbidden = self._named(guarantee.no)
        self.paying = self._named(guarantee.without or guarantee.reaches)
        self.owing = self._named(guarantee.after or guarantee.every)
        self.asked = [
            guarantee.when is None or self.semantics.truth(guarantee.when, world) is not False
            for world in range(len(self.semantics.worlds))
        ]

    def _named(self, names: Sequence[str]) -> frozenset[str]:
        return frozenset(name for name, node in self.semantics.flow.nodes.items() if _is_any(node, names))

    def routes(self, *, counted: bool) -> dict[int, tuple[Hop, ...]] | None:
        """The first, hence shortest, forbidden path per world; None when counting visits took too long."""
        flow = self.semantics.flow
        counters = self.semantics.counted() if counted else ()
        owed = not self.guarantee.every and not self.guarantee.after
        visited = tuple(int(name == flow.start) for name in counters)
        waiting = deque(_Step(flow.start, world, owed, visited) for world in self.semantics.starts)
        before: dict[_Step, tuple[_Step, int] | None] = dict.fromkeys(waiting)
        found: dict[int, tuple[Hop, ...]] = {}
        while waiting:
            step = waiting.popleft()
            node = flow.nodes[step.node]
            if step.node in self.forbidden and step.owed and self.asked[step.world]:
                found.setdefault(step.world, self._route(step, before))
            visits = dict(zip(counters, step.visits, strict=True)) if counted else None
            for world in self.semantics.worlds_after(node, step.world):
                if not node.edges and self.guarantee.every and self._owed_at_end(step, world) and self.asked[world]:
                    found.setdefault(world, self._route(step, before))
                for index, owed in self._ways_on(step, world, visits):
                    if not owed and not self.owing:
                        continue  # nothing is owed from here on
                    to = node.edges[index].to
                    after = tuple(count + (name == to) for name, count in zip(counters, step.visits, strict=True))
                    following = _Step(to, world, owed, after)
                    if following not in before:
                        before[following] = (step, index)
                        waiting.append(following)
            if counted and len(before) > MAX_STATES:
                return None
        return found

    def _ways_on(self, step: _Step, world: int, visits: Mapping[str, int] | None) -> Iterator[tuple[int, bool]]:
        """Every branch that a run may take, and whether a node is owed then."""

        def possible(where: str | None = None, *, holds: bool = True) -> tuple[int, ...]:
            if visits is None:
                return self.semantics.possible(step.node, world, where, holds=holds)
            return self.semantics.possible_after(step.node, world, visits, where, holds=holds)

        still, where = step.owed and step.node not in self.paying, self.guarantee.where
        if step.node not in self.owing:
            yield from ((index, still) for index in possible())
        elif where is None or still:
            yield from ((index, True) for index in possible())
        else:
            yield from ((index, True) for index in possible(where))
            yield from ((index, False) for index in possible(where, holds=False))

    def _owed_at_end(self, step: _Step, world: int) -> bool:
        if step.node not in self.owing:
            return step.owed and step.node not in self.paying
        where = self.guarantee.where
        return (
            where is None or self.semantics.can(step.node, world, where) or (step.owed and step.node not in self.paying)
        )

    def _route(self, last: _Step, before: Mapping[_Step, tuple[_Step, int] | None]) -> tuple[Hop, ...]:
        nodes = self.semantics.flow.nodes
        hops = [Hop(last.node, None, branching=False)]
        step = last
        while (origin := before[step]) is not None:
            step, index = origin
            edges = nodes[step.node].edges
            hops.append(Hop(step.node, edges[index].condition, branching=len(edges) > 1))
        return tuple(reversed(hops))


def _is_any(node: FlowNode, names: Sequence[str]) -> bool:
    if node.kind in names or not node.effects.isdisjoint(names):
        return True
    drafts = "generates" in node.effects and (not node.writes or "answer" in node.writes)
    return drafts and "generates-answer" in names


def _meaning(semantics: Semantics, guarantee: Guarantee) -> tuple[object, ...]:
    """Equal for guarantees that require the same of this flow, so that none is reported twice."""

    def named(names: Sequence[str]) -> frozenset[str]:
        return frozenset(name for name, node in semantics.flow.nodes.items() if _is_any(node, names))

    return (
        named(guarantee.no),
        named(guarantee.without),
        named(guarantee.after),
        bool(guarantee.after),
        named(guarantee.every),
        named(guarantee.reaches),
        guarantee.when,
        guarantee.where,
    )


def _bad_waivers(waivers: Sequence[Waiver]) -> list[Problem]:
    names = tuple(guarantee.name for guarantee in BUILT_IN)
    problems: list[Problem] = []
    for waiver in waivers:
        if waiver.guarantee not in names:
            problems.append(
                Problem(
                    "SG135",
                    f"{waiver.guarantee!r} is not a built-in guarantee",
                    waiver.place,
                    choices=names,
                    suggestion=nearest(waiver.guarantee, names),
                )
            )
        elif not is_reason(waiver.reason):
            problems.append(
                Problem(
                    "SG135",
                    f"guarantee {waiver.guarantee!r} is waived without a reason",
                    waiver.place,
                    hint=f"Say why, in words that an auditor can weigh: {REASON_RULE}",
                )
            )
    return problems


_FEWEST_WORDS = 3
REASON_RULE = "at least three different words, and not a note to yourself"
_NOTES = frozenset({"todo", "tbd", "fixme", "xxx", "asdf", "lorem", "ipsum", "placeholder", "foo", "bar"})


def is_reason(text: str) -> bool:
    """Whether a reason says something: `REASON_RULE`. Whether it is a good one is for people to judge."""
    words = {word.casefold() for word in re.findall(r"[^\W\d_]{2,}", text)}
    return len(words - _NOTES) >= _FEWEST_WORDS and not words & _NOTES


def _unstable(semantics: Semantics, guarantee: Guarantee) -> Problem | None:
    if guarantee.when is None:
        return None
    reads = sorted(semantics.known.reads(guarantee.when))
    changing = [name for name in reads if not (name.startswith("intent.") or semantics.steady(name))]
    if not changing:
        return None
    return Problem(
        "SG134",
        f"guarantee {str(guarantee)!r} cannot be proved: {changing[0]} can change during a run, so that its value "
        "at one node says nothing about another",
        guarantee.place,
        hint="In `when`, use fields of intent or principal, or the request's channel or language",
    )


_KINDS: Mapping[str, str] = {
    "decides-policy": "policy-check",
    "checks": "output-check",
    "asks-human": "human-interrupt",
}
"""The built-in kind with an effect."""


def _explained(found: Broken, semantics: Semantics) -> Problem:
    nodes = semantics.flow.nodes
    last = found.route[-1].node
    # the last node of the path after which the run owes a node
    owing = next((hop.node for hop in reversed(found.route) if _is_any(nodes[hop.node], found.guarantee.after)), last)
    names = ", ".join(hop.node for hop in found.route)
    decided = [
        f"{hop.node} to {following.node} by {hop.condition or 'otherwise'}"
        for hop, following in zip(found.route, found.route[1:], strict=False)
        if hop.branching
    ]
    message = f"guarantee broken: {found.guarantee}; by the path {names}"
    message += f" ({'; '.join(decided)})" if decided else ""
    if found.intents:
        message += f", for {'intent' if len(found.intents) == 1 else 'intents'} {', '.join(found.intents[:8])}"
        message += f" and {len(found.intents) - 8} more" if len(found.intents) > 8 else ""
    if found.given:
        message += f", for a run with {', '.join(f'{name} {value!r}' for name, value in sorted(found.given.items()))}"
    message += "" if found.certain else "; too many visits to count, so the path may exceed some max_visits"
    needed = " or ".join(_KINDS.get(name, name) for name in found.guarantee.without or found.guarantee.reaches)
    hint = f"Put a {needed} node on this path, or make one of its branches impossible"
    if found.guarantee.where and owing != last:
        hint = f"Branch from {owing!r} where {found.guarantee.where}, to nodes that do not lead to {last!r}"
    if found.guarantee.name:
        hint += f"; or waive {found.guarantee.name!r} with a reason"
    return Problem("SG134", message, found.guarantee.place or nodes[owing].place, hint=hint)
