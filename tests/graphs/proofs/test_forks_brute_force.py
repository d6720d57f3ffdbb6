"""Proofs over forks against every interleaving of random small flows, with every failure of a node.

A branch may go over a list. A run is judged for one of its items by itself, as in `test_for_each_brute_force`, which
holds that several are no different.
"""

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from sluicegate.graphs.proofs import Guarantee, Semantics, broken, prove
from sluicegate.graphs.proofs.flow import Edge, Flow, FlowNode
from tests.support.proof_flows import flow, known, node
from tests.support.proof_runs import GUARANTEES, INTENTS

pytestmark = pytest.mark.slow

EXAMPLES = 100
"""Flows that are compared, each under every guarantee."""
FREE = ("spend.stopped", "cache.hit")
"""Written from the start; by nobody for certain."""
DOMAINS = dict.fromkeys(FREE, (False, True))
CONDITIONS = ("spend.stopped", "!spend.stopped", "cache.hit", "spend.stopped && cache.hit", "intent.risk == 'high'")
KINDS = st.sampled_from(["x", "n", "w", "s"])

MOST = 600
"""States of a flow that are looked at, nearest first."""
DONE = "done"
"""In the place of a node: the branch has come to the join."""


@st.composite
def chains(draw: st.DrawFn, prefix: str, to: str, *, inner: bool) -> list[FlowNode]:
    """A branch: its nodes lead to each other, forwards or in bounded loops, and to `to`."""
    names = [f"{prefix}{number}" for number in range(draw(st.integers(1, 2)))]
    nodes, done = list[FlowNode](), list[FlowNode]()
    for number, name in enumerate(names):
        ahead = [*names[number + 1 :], to]
        branches: list[tuple[str, str] | str] = list(
            draw(st.lists(st.tuples(st.sampled_from(CONDITIONS), st.sampled_from([*names, to])), max_size=2))
        )
        made = node(name, draw(KINDS), *branches, ahead[0], max_visits=draw(st.sampled_from([None, None, 2])))
        if draw(st.sampled_from([False, False, True])):
            made = replace(made, on_error=Edge(draw(st.sampled_from(ahead))))
        if draw(st.sampled_from([False, False, True])):
            made = replace(made, do=f"{name}i0")
            done += draw(items(name))
        nodes.append(made)
    if inner and draw(st.sampled_from([False, False, True])):
        # the last node forks again, towards the same join
        parts = [draw(chains(f"{prefix}{side}", to, inner=False)) for side in "ab"]
        nodes.append(FlowNode(f"{prefix}f", "parallel", edges=tuple(Edge(part[0].name) for part in parts), join=to))
        nodes[-2] = replace(nodes[-2], edges=(*nodes[-2].edges[:-1], Edge(f"{prefix}f")))
        nodes += [each for part in parts for each in part]
    return [*nodes, *done]


@st.composite
def items(draw: st.DrawFn, each: str) -> list[FlowNode]:
    """What is done for an item of `each`."""
    names = [f"{each}i{number}" for number in range(draw(st.integers(1, 2)))]
    nodes: list[FlowNode] = []
    for number, name in enumerate(names):
        ahead = [*names[number + 1 :], each]
        some = draw(st.lists(st.tuples(st.sampled_from(CONDITIONS), st.sampled_from(ahead)), max_size=1))
        made = node(name, draw(KINDS), *some, ahead[0])
        nodes.append(replace(made, within=each, on_error=Edge(draw(st.sampled_from(ahead)))))
    return nodes


@st.composite
def forks(draw: st.DrawFn) -> Flow:
    parts = [draw(chains(prefix, "j", inner=True)) for prefix in "abc"[: draw(st.sampled_from([2, 2, 3]))]]
    fork = FlowNode(
        "f", "parallel", edges=tuple(Edge(part[0].name) for part in parts), join="j",
        max_visits=2, on_error=draw(st.sampled_from([None, Edge("j"), Edge("o")])),
    )  # fmt: skip
    back: list[tuple[str, str] | str] = [(draw(st.sampled_from(CONDITIONS)), "f")] if draw(st.booleans()) else []
    return flow(
        node("c", draw(st.sampled_from(["x", "classify"])), "p"),
        node("p", draw(KINDS), "f"),
        fork,
        *(each for part in parts for each in part),
        node("j", draw(KINDS), *back, "o"),
        node("o", draw(KINDS)),
        intents=INTENTS,
    )


class Token(NamedTuple):
    """Where a run is, or one of its branches; in a fork, one of each branch in `inside`."""

    node: str
    inside: "tuple[Token, ...]" = ()
    failed: bool = False
    """A branch of the fork has failed for good."""
    collecting: bool = False
    """Back at a for-each, after its item."""


class Now(NamedTuple):
    token: Token
    intent: str
    owed: bool
    visits: tuple[tuple[str, int], ...]


def entered(visits: tuple[tuple[str, int], ...], name: str) -> tuple[tuple[str, int], ...]:
    counts = dict(visits)
    return tuple(sorted({**counts, name: counts.get(name, 0) + 1}.items()))


def free(drawn: Flow, visits: tuple[tuple[str, int], ...], name: str) -> bool:
    limit = drawn.nodes[name].max_visits
    return limit is None or dict(visits).get(name, 0) < limit


class Step(NamedTuple):
    """One step of a token: where it goes, what is owed then, and its intent."""

    to: str | None
    """None where no branch is left."""
    owed: bool
    intent: str
    failed: bool = False


def steps(drawn: Flow, now: Now, name: str, guarantee: Guarantee, *, fails: bool) -> Iterator[Step]:
    here = drawn.nodes[name]

    def free_to_go(edge: Edge) -> bool:
        return here.returns(edge) or free(drawn, now.visits, edge.to)

    still = now.owed and here.kind not in (*guarantee.without, *guarantee.reaches)
    owing = here.kind in (*guarantee.after, *guarantee.every)
    for intent in list(INTENTS) if here.kind == "classify" else [now.intent]:
        for values in itertools.product((False, True), (False, True, None)):
            facts: dict[str, object] = {
                key: value for key, value in zip(FREE, values, strict=True) if value is not None
            }
            if intent:
                facts["intent.risk"] = INTENTS[intent]["risk"]
            holds = guarantee.where is None or known(guarantee.where, facts) is True
            to = next(
                (
                    edge.to
                    for edge in here.edges
                    if free_to_go(edge) and (edge.condition is None or known(edge.condition, facts))
                ),
                None,
            )
            yield Step(to, still or (owing and holds), intent)
    if here.on_error and free_to_go(here.on_error):
        yield Step(here.on_error.to, now.owed or owing, now.intent)
    elif fails and not here.on_error:
        yield Step(None, now.owed or owing, now.intent, failed=True)


def moves(
    drawn: Flow, now: Now, token: Token, guarantee: Guarantee, join: str, *, fails: bool
) -> Iterator[tuple[Token, Step, tuple[tuple[str, int], ...]]]:
    """Every way in which a token, or one inside of it, may move next: the token then, the step, the visits."""
    here = drawn.nodes.get(token.node)
    if here is None:
        return
    if here.do and not token.collecting:
        # what it is about to do may be done; it has been passed only after its items
        owed = now.owed or here.kind in (*guarantee.after, *guarantee.every)
        yield Token(here.do), Step(here.do, owed, now.intent), now.visits
    if not here.join:
        for step in steps(drawn, now, token.node, guarantee, fails=fails):
            if step.to is None:
                yield Token("failed") if step.failed else token, step, now.visits
            elif here.within and step.to == here.within:
                yield Token(step.to, collecting=True), step, now.visits
            elif step.to == join:
                yield Token(DONE), step, now.visits
            else:
                yield begun(drawn, step.to), step, visited(drawn, now.visits, step.to)
        return
    caught = fails or here.on_error is not None
    for number, one in enumerate(token.inside):
        for after, step, visits in moves(drawn, now, one, guarantee, here.join, fails=caught):
            inside = (*token.inside[:number], after, *token.inside[number + 1 :])
            yield token._replace(inside=inside, failed=token.failed or step.failed), step._replace(failed=False), visits
    stay = Step(here.join, now.owed, now.intent)
    if token.failed:
        if here.on_error:
            to = here.on_error.to
            done = to == join
            yield Token(DONE) if done else begun(drawn, to), stay._replace(to=to), (
                now.visits if done else visited(drawn, now.visits, to)
            )  # fmt: skip
        elif fails:
            yield Token("failed"), stay._replace(failed=True), now.visits
    elif all(one.node == DONE for one in token.inside):
        if here.join == join:
            yield Token(DONE), stay, now.visits
        else:
            yield begun(drawn, here.join), stay, visited(drawn, now.visits, here.join)


def begun(drawn: Flow, name: str) -> Token:
    here = drawn.nodes[name]
    return Token(name, tuple(begun(drawn, edge.to) for edge in here.edges) if here.join else ())


def visited(drawn: Flow, visits: tuple[tuple[str, int], ...], name: str) -> tuple[tuple[str, int], ...]:
    visits = entered(visits, name)
    here = drawn.nodes[name]
    for edge in here.edges if here.join else ():
        visits = visited(drawn, visits, edge.to)
    return visits


def positions(token: Token) -> Iterator[str]:
    """The nodes that are visited now."""
    if not token.collecting:
        yield token.node
    for one in token.inside:
        yield from positions(one)


def breaks(drawn: Flow, guarantee: Guarantee) -> bool:
    """Whether some interleaving breaks a guarantee."""
    first = Now(begun(drawn, "c"), "", not guarantee.after and not guarantee.every, (("c", 1),))
    seen, waiting = {first}, deque([first])

    def asked(intent: str) -> bool:
        facts = {"intent.risk": INTENTS[intent]["risk"]} if intent else {}
        return guarantee.when is None or known(guarantee.when, facts) is not False

    while waiting and len(seen) < MOST:
        now = waiting.popleft()
        if now.owed and asked(now.intent):
            kinds = {drawn.nodes[name].kind for name in positions(now.token) if name in drawn.nodes}
            if kinds & set(guarantee.no):
                return True
        ends = not drawn.nodes[now.token.node].edges
        for token, step, visits in moves(drawn, now, now.token, guarantee, "", fails=False):
            if ends and guarantee.every and step.owed and asked(step.intent):
                return True
            following = Now(token, step.intent, step.owed, visits)
            if not ends and (step.to is not None or token.inside) and following not in seen:
                seen.add(following)
                waiting.append(following)
    return False


# most flows that are drawn have other faults, such as a branch list that is not total
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.filter_too_much])
@given(forks())
def test_what_is_proved_holds_in_every_interleaving(drawn: Flow) -> None:
    # a flow that may loop for ever or get stuck in one branch is refused for that
    assume(not {"SG131", "SG132", "SG133"} & {each.code for each in prove(drawn, [], [], known, DOMAINS)})
    semantics = Semantics(drawn, known, DOMAINS)
    for guarantee in GUARANTEES:
        proved = broken(semantics, guarantee) is None
        event("proved" if proved else "refused")
        if proved:
            assert not breaks(drawn, guarantee), str(guarantee)
