"""Proofs against every run of random small flows, executed branch by branch with concrete values."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.graphs.proofs import Guarantee, Semantics, broken, prove
from sluicegate.graphs.proofs.flow import Edge, Flow
from sluicegate.graphs.proofs.shape import most_steps
from tests.support.proof_flows import flow, known, node
from tests.support.proof_runs import (
    CONDITIONS,
    DOMAINS,
    EXACT,
    FAILED,
    GUARANTEES,
    INTENTS,
    STUCK,
    Now,
    branches_taken,
    entered,
    free_to_enter,
)

pytestmark = pytest.mark.slow


@st.composite
def flows(draw: st.DrawFn, conditions: tuple[str, ...] = CONDITIONS) -> Flow:
    size = draw(st.integers(2, 6))
    names = [f"n{index}" for index in range(size)]
    nodes = []
    for name in names:
        branches: list[tuple[str, str] | str] = []
        if name != names[-1]:
            branches += draw(st.lists(st.tuples(st.sampled_from(conditions), st.sampled_from(names)), max_size=3))
            if draw(st.booleans()):
                opposite = draw(st.sampled_from([each for each in conditions if each.startswith("!")]))
                branches += [(opposite[1:], draw(st.sampled_from(names))), (opposite, draw(st.sampled_from(names)))]
            if draw(st.booleans()):
                branches.append(draw(st.sampled_from(names)))
        kind = draw(st.sampled_from(["x", "n", "w", "s", "classify", "ask"]))
        made = node(name, kind, *branches, max_visits=draw(st.sampled_from([None, None, 1, 2])))
        if branches and draw(st.sampled_from([False, False, True])):
            made = replace(made, on_error=Edge(draw(st.sampled_from(names))))
        nodes.append(replace(made, always_writes=frozenset({"checks"})) if kind == "w" else made)
    return flow(*nodes, intents=INTENTS)


def left_as(drawn: Flow, now: Now) -> Iterator[Now]:
    """How a run may be when a node has done what it does; an answer to an `ask` takes away what was found before."""
    here = drawn.nodes[now.node]
    for intent in list(INTENTS) if here.kind == "classify" else ["" if here.kind == "ask" else now.intent]:
        yield now._replace(intent=intent, checked=(now.checked or here.kind == "w") and here.kind != "ask")


def shortest_breach(drawn: Flow, guarantee: Guarantee) -> list[str] | None:
    """Breadth first over everything a run can be, by the words of the guarantee."""
    lacking = not guarantee.after and not guarantee.every
    first = Now(drawn.start, "", lacking, entered(drawn, (0,) * len(drawn.nodes), drawn.start))
    came: dict[Now, Now | None] = {first: None}
    waiting = deque([first])

    def may_hold(intent: str) -> bool:
        facts = {"intent.risk": INTENTS[intent]["risk"]} if intent else {}
        return guarantee.when is None or known(guarantee.when, facts) is not False

    while waiting:
        now = waiting.popleft()
        here = drawn.nodes[now.node]
        breach = here.kind in guarantee.no and now.owed and may_hold(now.intent)
        still = now.owed and here.kind not in (*guarantee.without, *guarantee.reaches)
        owing = here.kind in (*guarantee.after, *guarantee.every)
        left: list[tuple[str, int, bool, bool]] = []
        for leaving in left_as(drawn, now):
            for index, holds in set(branches_taken(drawn, leaving, guarantee.where)):
                left.append((leaving.intent, index, still or (owing and holds), leaving.checked))
        if here.on_error and free_to_enter(drawn, now, here.on_error.to):
            # what failed may have done what it does, and has done nothing that is required
            left.append((now.intent, FAILED, now.owed or owing, now.checked))
        if guarantee.every and not here.edges:
            breach |= any(owed and may_hold(intent) for intent, _, owed, _ in left)
        if breach:
            route = [now.node]
            while (earlier := came[now]) is not None:
                route.append(earlier.node)
                now = earlier
            return route[::-1]
        for intent, index, owed, checked in left:
            if index != STUCK:
                to = here.ways[index].to
                following = Now(to, intent, owed, entered(drawn, now.visits, to), checked)
                if following not in came:
                    came[following] = now
                    waiting.append(following)
    return None


@settings(max_examples=400)
@given(flows(EXACT), st.sampled_from(GUARANTEES))
def test_a_guarantee_is_proved_exactly_when_no_run_breaks_it(drawn: Flow, guarantee: Guarantee) -> None:
    found = broken(Semantics(drawn, known, DOMAINS), guarantee)
    breach = shortest_breach(drawn, guarantee)
    assert (found is None) == (breach is None)
    if found is not None and breach is not None:
        assert found.certain
        assert len(found.route) == len(breach)


@settings(max_examples=200)
@given(flows(), st.sampled_from(GUARANTEES))
def test_a_proof_holds_whatever_was_written_before(drawn: Flow, guarantee: Guarantee) -> None:
    if any(broken(Semantics(drawn, known, domains), guarantee) is None for domains in ({}, DOMAINS)):
        assert shortest_breach(drawn, guarantee) is None


@settings(max_examples=300)
@given(flows())
def test_a_flow_without_problems_always_ends(drawn: Flow) -> None:
    """No run of a proved flow gets stuck, and none goes on for ever, nor for more steps than are allowed for."""
    codes = {problem.code for problem in prove(drawn, [], [], known, DOMAINS)}
    if codes & {"SG131", "SG132", "SG133"}:
        return
    first = Now(drawn.start, "", False, entered(drawn, (0,) * len(drawn.nodes), drawn.start))
    finished: set[Now] = set()
    under_way: list[tuple[Now, Iterator[Now]]] = []

    def following(now: Now) -> Iterator[Now]:
        here = drawn.nodes[now.node]
        for leaving in left_as(drawn, now):
            taken = {index for index, _ in branches_taken(drawn, leaving)}
            assert STUCK not in taken or not here.edges, f"stuck at {now}"
            for index in sorted(taken - {STUCK}):
                to = here.edges[index].to
                yield Now(to, leaving.intent, False, entered(drawn, now.visits, to), leaving.checked)
        if here.on_error:
            assert free_to_enter(drawn, now, here.on_error.to), f"stuck at the failure of {now}"
            to = here.on_error.to
            yield Now(to, now.intent, False, entered(drawn, now.visits, to), now.checked)

    under_way.append((first, following(first)))
    on_way = {first}
    longest = dict[Now, int]()
    while under_way:
        now, rest = under_way[-1]
        step = next(rest, None)
        if step is None:
            under_way.pop()
            on_way.discard(now)
            finished.add(now)
            longest[now] = 1 + max((longest[later] for later in following(now)), default=0)
        elif step in on_way:
            raise AssertionError(f"a run comes back to {step}")
        elif step not in finished:
            on_way.add(step)
            under_way.append((step, following(step)))
    assert longest[first] <= most_steps(drawn)
