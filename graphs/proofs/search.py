"""The search for a run that breaks a guarantee.

A node D dominates a node N exactly when N cannot be reached once D is taken out of the graph (F. Allen and J. Cocke,
A catalogue of optimizing transformations, 1972); post-dominance is the same towards the ends. So a guarantee is a
search for a forbidden run in the product of the graph, the worlds of `semantics`, and what the run still owes (`Debt`).
It is linear in that product. Branches that run side by side are searched one after another, each from what held at
the fork (`side_by_side`): nothing in one counts for its sibling, whatever comes first. A run that is found is searched
again with every visit counted, so that the path shown is the shortest that really exists; where that takes more than
`MAX_STATES` steps the uncounted one is shown.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from sluicegate.graphs.proofs.contracts import ended_as, every_node, within
from sluicegate.graphs.proofs.fanout.side_by_side import Debt, InBranch, SideBySide
from sluicegate.graphs.proofs.guarantee import Guarantee, is_any, widened
from sluicegate.graphs.proofs.semantics import Semantics

__all__ = ["Broken", "Hop", "broken"]

MAX_STATES = 10_000
"""Limit of the search that counts visits."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One step of a path: a node and the branch by which it was left."""

    node: str
    condition: str | None
    """CEL text of the branch taken from here, ``on_error``, or ``each item``; None for an unconditional one, an
    ``otherwise`` and the last node."""
    branching: bool
    """True when the node has more than one branch."""
    to: str = ""
    """Where that branch leads; of the last node of a branch of a fork, the join."""
    branch: tuple[str, str] | None = None
    """The fork and the first node of the branch that the node is in."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A guarantee with the shortest path that breaks it."""

    guarantee: Guarantee
    route: tuple[Hop, ...]
    intents: tuple[str, ...]
    """Every intent for which a path breaks it, in the order of the config; empty before a node classified."""
    given: Mapping[str, object]
    """The requester's and the request's fields on the path; empty where they make no difference."""
    owing: str
    """The node after which something was owed on this path; its last node when that was so from the start."""
    certain: bool
    """False when visits could not be counted to the end, and the path may need more visits than allowed."""


def broken(semantics: Semantics, guarantee: Guarantee) -> Broken | None:
    """The shortest path that breaks a guarantee; None when it is proved."""
    found = [each for part in _parts(semantics, guarantee) if (each := _broken(semantics, part)) is not None]
    return min(found, key=lambda each: len(each.route), default=None)


def _parts(semantics: Semantics, guarantee: Guarantee) -> list[Guarantee]:
    """What is proved apart: what one set of guards found is mended by a check with at least these."""
    if not guarantee.unless_mended:
        return [guarantee]
    guards = dict.fromkeys(node.guards for node in every_node(semantics.flow) if is_any(node, guarantee.after))
    return [replace(guarantee, guards=each) for each in guards]


def _broken(semantics: Semantics, guarantee: Guarantee) -> Broken | None:
    search = _Search(semantics, guarantee)
    rough = search.routes(counted=False)
    if not rough:
        return None
    exact = search.routes(counted=True)
    routes = rough if exact is None else exact
    if not routes:
        return None
    world = min(routes, key=lambda world: len(routes[world].hops))
    anywhere = {semantics.start(each) for each in routes} == {*semantics.starts}
    given = {} if anywhere else semantics.worlds[semantics.start(world)]
    hops, owing = routes[world]
    return Broken(guarantee, hops, semantics.labels(routes), given, owing, certain=exact is not None)


class _Way(NamedTuple):
    """How a run may leave a node: where `where` certainly holds, or does not; and what it owes then."""

    where: str | None
    holds: bool
    debt: Debt


class _Route(NamedTuple):
    hops: tuple[Hop, ...]
    owing: str


class _Step(NamedTuple):
    """Where a search stands: at `node`, entered in `world`."""

    node: str
    world: int
    debt: Debt
    visits: tuple[int, ...] = ()
    branches: tuple[InBranch, ...] = ()
    """The branches that it is in, the innermost last."""
    outside: int | None = None
    """Within an item of a for-each: the world in which the run came to that."""
    collecting: bool = False
    """Back at a for-each, after an item."""


class _Passage(NamedTuple):
    """What becomes of a debt in a child: a summary of its runs, as of a procedure's (M. Sharir and A. Pnueli, Two
    approaches to interprocedural data flow analysis, 1981)."""

    breach: _Route | None
    """How the child breaks the guarantee."""
    ways: tuple[_Way, ...]
    failed: Debt
    """What is owed when the child fails, wherever."""


@dataclass(slots=True)
class _Search:
    semantics: Semantics
    guarantee: Guarantee
    entering: Debt | None = None
    """Of a child, what its parent's run owes as it comes to it."""
    left: dict[str, Debt] = field(default_factory=dict[str, Debt])
    """Of a child, the most that is owed at each of its ends that was reached."""
    worst: Debt = Debt.NOTHING
    """Of a child, the most that is owed anywhere."""
    passages: dict[tuple[Semantics, Debt, bool], _Passage] = field(
        default_factory=dict[tuple[Semantics, Debt, bool], _Passage]
    )
    forbidden: frozenset[str] = field(init=False)
    paying: frozenset[str] = field(init=False)
    owing: frozenset[str] = field(init=False)
    asking: frozenset[str] = field(init=False)
    redrafting: frozenset[str] = field(init=False)
    children: bool = field(init=False)
    """Something may come to be owed within a node that is a workflow."""
    asked: list[bool] = field(init=False)
    """Per world: may the guarantee's `when` hold?"""
    forks: SideBySide = field(init=False)

    def __post_init__(self) -> None:
        guarantee, nodes = self.guarantee, self.semantics.flow.nodes
        self.forbidden = self._named(widened(guarantee.no))
        self.paying = self._named(guarantee.without or guarantee.reaches)
        owed = widened(guarantee.after or guarantee.every)
        owing = self._named(owed)
        self.owing = frozenset(name for name in owing if guarantee.guards <= nodes[name].guards)
        self.asking = self._named(("asks-requester",))
        # of a kind that drafts and checks at once, who knows in which order?
        drafting = self._named(("generates-answer",)) - owing if guarantee.unless_mended else ()
        drafting = (*drafting, *(name for name, node in nodes.items() if node.child and guarantee.unless_mended))
        self.redrafting = frozenset(name for name in drafting if "answer" in nodes[name].always_writes)
        self.children = any(
            is_any(one, owed) for node in nodes.values() if node.child for one in every_node(within(node.child))
        )
        self.asked = [
            guarantee.when is None or self.semantics.truth(guarantee.when, world) is not False
            for world in range(len(self.semantics.worlds))
        ]
        self.forks = SideBySide(self.semantics, self.owing, self.asked)

    def _named(self, names: tuple[str, ...]) -> frozenset[str]:
        return frozenset(name for name, node in self.semantics.flow.nodes.items() if is_any(node, names))

    def routes(self, *, counted: bool) -> dict[int, _Route] | None:
        """The first, hence shortest, forbidden path per world; None when counting visits took too long."""
        flow = self.semantics.flow
        counters = self.semantics.counted() if counted else ()
        debt = Debt.NOTHING if self.guarantee.every or self.guarantee.after else Debt.OWED
        debt = self.entering or debt
        visited = tuple(int(name == flow.start) for name in counters)
        waiting = deque(_Step(flow.start, world, debt, visited) for world in self.semantics.starts)
        before: dict[_Step, tuple[_Step, int] | None] = dict.fromkeys(waiting)
        found: dict[int, _Route] = {}
        if counted and self.forks.uncountable(counters):
            return None
        while waiting:
            step = waiting.popleft()
            node = flow.nodes[step.node]
            enters = not step.collecting
            asked = self.forks.asked_of(step.world, step.branches)
            if enters and step.node in self.forbidden and self._due(step) and asked:
                found.setdefault(step.world, self._route(step, before))
            if node.child and self.asked[step.world] and (breach := self._passage(step).breach):
                found.setdefault(step.world, self._route_into(breach, step, before))
            if self.entering:
                self._note(step)
            visits = dict(zip(counters, step.visits, strict=True)) if counted else None
            onward: list[tuple[int, int, Debt]] = []
            for world in self.semantics.worlds_after(node, step.world):
                if self._breaks_leaving(step, world) and self.forks.asked_of(world, step.branches):
                    found.setdefault(world, self._route(step, before))
                onward += [(index, world, debt) for index, debt in self._ways_on(step, world, visits)]
            error = node.on_error
            if error and (visits is None or node.returns(error) or flow.left(error, visits)):
                onward.append((len(node.edges), step.world, self._failed(step)))
            if node.join:
                onward = [each for each in onward if each[0] in (0, len(node.edges))]
            if node.do and enters:
                onward.append((len(node.ways), step.world, self._failed(step)))
            for index, world, debt in onward:
                if debt is Debt.NOTHING and not (self.owing or self.children or self.entering or step.branches):
                    continue  # nothing is owed from here on
                following = self._following(step, index, world, debt, counters)
                if following not in before:
                    before[following] = (step, index)
                    waiting.append(following)
            if counted and len(before) > MAX_STATES:
                return None
        return found

    def _due(self, step: _Step) -> bool:
        since = self.guarantee.since is not None
        return step.debt.due or self.forks.owed_by_sibling(step.debt, step.branches, since=since)

    def _following(self, step: _Step, index: int, world: int, debt: Debt, counters: Sequence[str]) -> _Step:
        """Where a run is after a way of a node; the one behind its `ways` goes to what a for-each does for an item.

        An item ends in the world in which the run came to the for-each: what was found for an item stays with it.
        """
        node = self.semantics.flow.nodes[step.node]
        if index == len(node.ways):
            return _Step(node.do, world, debt, step.visits, step.branches, outside=world)
        if node.returns(way := node.ways[index]):
            assert step.outside is not None
            return _Step(way.to, step.outside, debt, step.visits, step.branches, collecting=True)
        to, world, debt, branches = self.forks.onward(step.node, index, world, debt, step.branches)
        visits = tuple(count + (name == to) for name, count in zip(counters, step.visits, strict=True))
        return _Step(to, world, debt, visits, branches, step.outside if node.within else None)

    def _ways(self, step: _Step) -> tuple[_Way, ...]:
        """What a run owes as it leaves a node."""
        guarantee, where, debt = self.guarantee, self.guarantee.where, step.debt
        if self.semantics.flow.nodes[step.node].child:
            return self._passage(step).ways
        if guarantee.since is not None:
            if step.node in self.paying:
                return _Way(guarantee.since, True, Debt.SINCE), _Way(guarantee.since, False, Debt.NOTHING)
            owed = step.node in self.owing and debt is not Debt.NOTHING
            return (_Way(None, True, Debt.OWED if owed else debt),)
        if step.node in self.paying:
            debt = Debt.NOTHING
        elif debt in (Debt.OWED, Debt.INHERITED) and step.node in self.redrafting:
            debt = Debt.REDRAFTED
        if step.node not in self.owing:
            return (_Way(None, True, debt),)
        if debt is Debt.INHERITED and where is not None:
            return _Way(where, True, Debt.OWED), _Way(where, False, debt)
        if where is None or debt is Debt.OWED:
            return (_Way(None, True, Debt.OWED),)
        return _Way(where, True, Debt.OWED), _Way(where, False, Debt.NOTHING)

    def _failed(self, step: _Step) -> Debt:
        """What a run owes when a node has failed: it pays for nothing, and what it was about to do may be done."""
        if self.semantics.flow.nodes[step.node].child:
            return self._passage(step).failed
        may_owe = self.guarantee.since is None or step.debt is not Debt.NOTHING
        # a question that nobody answered has added no words
        owes = step.node in self.owing - self.asking or self.forks.owes(step.node)
        return Debt.OWED if owes and may_owe else step.debt

    def _ways_on(self, step: _Step, world: int, visits: Mapping[str, int] | None) -> Iterator[tuple[int, Debt]]:
        """Every branch that a run may take, and what it owes then."""
        for way in self._ways(step):
            if visits is None:
                taken = self.semantics.possible(step.node, world, way.where, holds=way.holds)
            else:
                taken = self.semantics.possible_after(step.node, world, visits, way.where, holds=way.holds)
            yield from ((index, way.debt) for index in taken)

    def _breaks_leaving(self, step: _Step, world: int) -> bool:
        node = self.semantics.flow.nodes[step.node]
        # what a node drafts and sends at once is sent unchecked
        sends_own = step.node in self.forbidden and {"sends", "generates-answer"} <= node.effects
        unpaid = bool(self.guarantee.every) and not node.edges and not self.entering
        return (sends_own or unpaid) and any(
            way.debt.due and (way.where is None or self.semantics.can(step.node, world, way.where))
            for way in self._ways(step)
        )

    def _passage(self, step: _Step) -> _Passage:
        """What becomes of the debt in a child.

        What is owed as a run comes to it can be paid for what happens within, and is owed afterwards as before: what
        the child checks, decides and asks is about its own run; a guarantee may ask for the child itself, by its kind.
        What comes to be owed within can be paid there.
        """
        left = self.semantics.child(step.node, afterwards=True)
        key = (left, step.debt, step.node in self.redrafting)
        if key not in self.passages:
            guarantee = replace(self.guarantee, when=None)
            inside = _Search(self.semantics.child(step.node, afterwards=False), guarantee, step.debt)
            routes = inside.routes(counted=True)
            routes = inside.routes(counted=False) if routes is None else routes
            fresh = step.debt if step.debt is Debt.SINCE else Debt.NOTHING
            leaving = _Search(left, guarantee, fresh)
            leaving.routes(counted=False)
            before = Debt.NOTHING if step.node in self.paying else step.debt
            if before is Debt.OWED and step.node in self.redrafting:
                before = Debt.REDRAFTED
            contract = self.semantics.flow.nodes[step.node].child
            assert contract is not None
            # who owes the most breaks whatever others break
            owed: dict[str, Debt] = {}
            for name, end in contract.flow.nodes.items():
                for how in ended_as(end) if not end.edges else ():
                    owed[how] = owed.get(how, before).and_also(leaving.left.get(name, Debt.NOTHING))
            ways = tuple(_Way(how, True, debt) for how, debt in owed.items())
            breach = min(routes.values(), key=lambda route: len(route.hops)) if routes else None
            self.passages[key] = _Passage(breach, ways, step.debt.and_also(leaving.worst))
        return self.passages[key]

    def _note(self, step: _Step) -> None:
        """What a child owes here, where it may end or fail."""
        self.worst = self.worst.and_also(step.debt).and_also(self._failed(step))
        if not self.semantics.flow.nodes[step.node].edges:
            for way in self._ways(step):
                self.left[step.node] = way.debt.and_also(self.left.get(step.node, Debt.NOTHING))

    def _route_into(self, breach: _Route, step: _Step, before: Mapping[_Step, tuple[_Step, int] | None]) -> _Route:
        """The way to a child, and on into it."""
        hops, owing = self._route(step, before)
        into = [replace(hop, node=f"{step.node}/{hop.node}") for hop in breach.hops]
        return _Route((*hops, *into), owing if step.debt.due else f"{step.node}/{breach.owing}")

    def _route(self, last: _Step, before: Mapping[_Step, tuple[_Step, int] | None]) -> _Route:
        nodes = self.semantics.flow.nodes
        hops, step, owing = [Hop(last.node, None, False, branch=self.forks.branch_of(last.node))], last, ""
        while (origin := before[step]) is not None:
            later, (step, index) = step, origin
            node = nodes[step.node]
            if self.forks.beside(step.node, last.branches):
                continue  # a sibling that was searched before, and that makes no difference
            said, to = node.taken(index), (*(way.to for way in node.ways), node.do)[index]
            branch = self.forks.branch_of(step.node)
            branching = (len(node.ways) > 1 or bool(node.do)) and not (node.join and said is None)
            hops.append(Hop(step.node, said, branching, to, branch))
            if later.debt.due and not step.debt.due:
                owing = owing or step.node
        if not last.debt.due:
            owing = self.forks.owing_sibling(last.branches) or owing
        return _Route(tuple(reversed(hops)), owing or last.node)
