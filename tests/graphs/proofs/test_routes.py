"""The dearest route bounds every run, by walking through random flows of loops, forks and for-eaches."""

from dataclasses import dataclass, field, replace
from random import Random

import pytest

from sluicegate.graphs.proofs.fanout.routes import Routes, tries
from sluicegate.graphs.proofs.flow import Edge, Flow, FlowNode
from sluicegate.nodes.attempts import AttemptLimits, Retry

AT_MOST = 3


def node(name: str, *to: str, **more: object) -> FlowNode:
    return FlowNode(name, "x", edges=tuple(map(Edge, to)), **more)  # type: ignore[arg-type]


def dearest(*nodes: FlowNode, start: str = "a", **costs: int) -> int:
    flow = Flow(nodes[0].name, {one.name: one for one in nodes})
    at_most = {one.name: AT_MOST for one in nodes if one.do}
    (found,) = Routes(flow, start, at_most).dearest({name: (cost,) for name, cost in costs.items()})
    return found


def test_of_ways_that_exclude_each_other_the_dearer_one_counts() -> None:
    nodes = node("a", "b", "c"), node("b", "d"), node("c", "d"), node("d")
    assert dearest(*nodes, a=1, b=10, c=20, d=100) == 121


def test_all_branches_of_a_fork_count() -> None:
    nodes = node("a", "b", "c", join="d"), node("b", "d"), node("c", "d"), node("d")
    assert dearest(*nodes, a=1, b=10, c=20, d=100) == 131


def test_a_fork_that_fails_has_paid_for_its_branches() -> None:
    fork = node("a", "b", "c", join="d", on_error=Edge("e"))
    nodes = fork, node("b", "d"), node("c", "d"), node("d"), node("e")
    assert dearest(*nodes, b=10, c=20, d=100, e=1000) == 1030


def test_items_count_as_often_as_there_may_be() -> None:
    nodes = node("a", "d", do="b"), node("b", "c", "a", within="a"), node("c", "a", within="a"), node("d")
    assert dearest(*nodes, a=1, b=10, c=20, d=100) == 1 + 3 * 30 + 100


def test_a_loop_counts_by_its_visits() -> None:
    nodes = node("a", "b", "c"), node("b", "a", max_visits=2), node("c")
    assert dearest(*nodes, a=1, b=10, c=100) == 3 + 20 + 100


def test_repeated_attempts_count() -> None:
    again = AttemptLimits(retry=Retry(times=2))
    assert dearest(node("a", "b", limits=again), node("b"), a=1, b=10) == 13


def test_items_of_a_loop_count_in_each_round() -> None:
    nodes = (
        node("a", "e", do="b", max_visits=2), node("b", "b", "a", within="a", max_visits=2), node("e", "a", "z"),
        node("z"),
    )  # fmt: skip
    flow = Flow("a", {one.name: one for one in nodes})
    assert tries(flow, {"a": 3})["b"] == 2 * 3 * 2
    assert tries(flow, {"a": 3}, ["b"])["b"] == 2, "within one item"


def test_within_a_branch_only_its_own_nodes_count() -> None:
    nodes = node("a", "b", "c", join="d"), node("b", "x", "d"), node("x", "b", max_visits=3), node("c", "d"), node("d")
    flow = Flow("a", {one.name: one for one in nodes})
    visit = dict.fromkeys(flow.nodes, (1,))
    assert Routes(flow, "b", {}, ["b", "x"]).dearest(visit) == (4 + 3,)


@dataclass
class Drawn:
    """A random flow, put together of parts that lead to a given node."""

    random: Random
    nodes: dict[str, FlowNode] = field(default_factory=dict[str, FlowNode])

    def add(self, within: str, *to: str, **more: object) -> str:
        name = f"n{len(self.nodes)}"
        limits = AttemptLimits(retry=Retry(times=1)) if self.random.random() < 0.1 else AttemptLimits()
        self.nodes[name] = node(name, *to, within=within, limits=limits, **more)
        return name

    def part(self, to: str, depth: int, within: str = "") -> str:
        """The first node of a part that ends at `to`."""
        kind = self.random.choice(["node", "choice", "loop", "fork", "each"] if depth else ["node"])
        if within and kind in ("fork", "each"):
            kind = "choice"
        if kind == "choice":
            return self.add(within, self.part(to, depth - 1, within), self.part(to, depth - 1, within))
        if kind == "loop":
            body = self.add(within, to)
            head = self.add(within, body, to, max_visits=self.random.randint(1, 3))
            self.nodes[body] = replace(self.nodes[body], edges=(Edge(head), Edge(to)))
            return head
        if kind == "fork":
            join = self.part(to, depth - 1, within)
            firsts = [self.part(join, depth - 1, within) for _ in range(self.random.randint(2, 3))]
            failing = Edge(self.part(to, 0)) if self.random.random() < 0.3 else None
            return self.add(within, *firsts, join=join, on_error=failing)
        if kind == "each":
            name = self.add("", to)
            first = self.part(name, depth - 1, within=name)
            self.nodes[name] = replace(self.nodes[name], do=first)
            return name
        return self.add(within, to)


@dataclass
class Walk:
    """A run through a flow that takes any way it may take."""

    flow: Flow
    random: Random
    costs: dict[str, int]
    paid: int = 0

    def to(self, name: str, stop: str, visits: dict[str, int]) -> None:
        while name != stop:
            here = self.flow.nodes[name]
            visits[name] = visits.get(name, 0) + 1
            retry = here.limits.retry
            self.paid += self.costs[name] * (1 + (self.random.randint(0, retry.times) if retry else 0))
            if here.join:
                for edge in here.edges:
                    self.to(edge.to, here.join, visits)
                failed = here.on_error and self.random.random() < 0.5
                name = here.on_error.to if failed and here.on_error else here.join
                continue
            if here.do:
                for _ in range(self.random.randint(0, AT_MOST)):
                    self.to(here.do, name, {**visits})
            if not here.edges:
                return
            left = [edge.to for edge in here.edges if edge.to == stop or self.flow.left(edge, visits)]
            name = self.random.choice(left)


@pytest.mark.parametrize("block", range(10))
def test_no_walk_costs_more_than_the_dearest_route(block: int) -> None:
    exact = 0
    for seed in range(block * 30, block * 30 + 30):
        random = Random(seed)
        drawn = Drawn(random, {"end": node("end")})
        start = drawn.part(drawn.part("end", 2), 3)
        flow = Flow(start, drawn.nodes)
        costs = {name: random.choice([0, 1, 5, 30]) for name in flow.nodes}
        at_most = {name: AT_MOST for name, one in flow.nodes.items() if one.do}
        (bound,) = Routes(flow, start, at_most).dearest({name: (cost,) for name, cost in costs.items()})
        most = 0
        for _ in range(60):
            walk = Walk(flow, random, costs)
            walk.to(start, "", {})
            most = max(most, walk.paid)
            assert walk.paid <= bound, (seed, walk.paid, bound)
        exact += most >= 0.5 * bound
    assert exact > 15, "and it is no number that would hold for anything"
