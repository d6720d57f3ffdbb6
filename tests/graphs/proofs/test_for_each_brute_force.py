"""Proofs of flows with a for-each against every run of them: no, one or two items, in every interleaving.

A run is judged for each of its items by itself: what came before the list, what was done for the item, what came after.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

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

KINDS = ("x", "n", "w", "s", "classify")


class Thread(NamedTuple):
    """Where one item is; at the for-each again when it has ended."""

    node: str
    intent: str
    owed: bool
    checked: bool


class Here(NamedTuple):
    node: str
    intent: str
    owed: frozenset[bool]
    """What is owed, of the runs of the single items."""
    visits: tuple[int, ...]
    checked: bool = False
    items: tuple[Thread, ...] | None = None
    """At a for-each: its items; None before they have begun."""


@st.composite
def mapping_flows(draw: st.DrawFn, conditions: tuple[str, ...] = CONDITIONS) -> Flow:
    outer = [f"n{index}" for index in range(draw(st.integers(2, 4)))]
    within = [f"i{index}" for index in range(draw(st.integers(1, 3)))]
    each = draw(st.sampled_from(outer[:-1]))

    def branches(targets: list[str], *, always: bool) -> list[tuple[str, str] | str]:
        some: list[tuple[str, str] | str] = []
        some += draw(st.lists(st.tuples(st.sampled_from(conditions), st.sampled_from(targets)), max_size=2))
        return [*some, draw(st.sampled_from(targets))] if always or draw(st.booleans()) else some

    nodes = []
    for name in outer:
        ways = branches(outer, always=name == each) if name != outer[-1] else []
        kind = draw(st.sampled_from(KINDS[:-1] if name == each else KINDS))
        made = node(name, kind, *ways, max_visits=draw(st.sampled_from([None, 1, 2])))
        if ways and draw(st.sampled_from([False, False, True])):
            made = replace(made, on_error=Edge(draw(st.sampled_from(outer))))
        nodes.append(replace(made, do=within[0]) if name == each else made)
    for index, name in enumerate(within):
        later = [*within[index + 1 :], each]
        made = node(name, draw(st.sampled_from(KINDS)), *branches(later, always=True))
        nodes.append(replace(made, within=each, on_error=Edge(draw(st.sampled_from(later)))))
    return flow(*(replace(one, always_writes=frozenset({"checks"})) if one.kind == "w" else one for one in nodes),
                intents=INTENTS)  # fmt: skip


def leaves(drawn: Flow, guarantee: Guarantee, name: str, intent: str, owed: bool, checked: bool,
           visits: tuple[int, ...]) -> Iterator[tuple[str, int, bool, bool]]:  # fmt: skip
    """Every way in which a node is left: the intent, the way, what is owed, whether `checks` are written."""
    here = drawn.nodes[name]
    # back at the for-each an item has ended, and nothing is visited anew
    visits = tuple(0 if other == here.within else count for other, count in zip(drawn.nodes, visits, strict=True))
    still = owed and here.kind not in (*guarantee.without, *guarantee.reaches)
    owing = here.kind in (*guarantee.after, *guarantee.every)
    after = checked or here.kind == "w"
    for known_intent in list(INTENTS) if here.kind == "classify" else [intent]:
        now = Now(name, known_intent, owed, visits, after)
        for index, holds in set(branches_taken(drawn, now, guarantee.where)):
            yield known_intent, index, still or (owing and holds), after
    if here.on_error and free_to_enter(drawn, Now(name, intent, owed, visits), here.on_error.to):
        yield intent, FAILED, owed or owing, checked


def following(drawn: Flow, guarantee: Guarantee, here: Here) -> Iterator[Here]:
    """Every next moment of a run."""
    node_ = drawn.nodes[here.node]
    if node_.do and here.items is None:
        # what it is about to do may be done; it has been passed only after its items
        begins = frozenset(owed or node_.kind in (*guarantee.after, *guarantee.every) for owed in here.owed)
        yield here._replace(items=())
        for owed in begins:
            first = Thread(node_.do, here.intent, owed, here.checked)
            for count in (1, 2):
                yield here._replace(items=(first,) * count)
        return
    threads = here.items or ()
    under_way = [number for number, thread in enumerate(threads) if thread.node != here.node]
    for number in under_way:
        thread = threads[number]
        for intent, index, owed, checked in leaves(drawn, guarantee, *thread, here.visits):
            if index != STUCK:
                to = drawn.nodes[thread.node].ways[index].to
                moved = Thread(to, intent, owed, checked)
                yield here._replace(items=(*threads[:number], moved, *threads[number + 1 :]))
    if under_way:
        return
    for owed in {thread.owed for thread in threads} or here.owed:
        for intent, index, after, checked in leaves(drawn, guarantee, here.node, here.intent, owed, here.checked,
                                                    here.visits):  # fmt: skip
            if index != STUCK:
                to = node_.ways[index].to
                yield Here(to, intent, frozenset({after}), entered(drawn, here.visits, to), checked)


def breaks(drawn: Flow, guarantee: Guarantee, here: Here) -> bool:
    """Whether a run that is here has just done what it may not."""

    def may_hold(intent: str) -> bool:
        facts = {"intent.risk": INTENTS[intent]["risk"]} if intent else {}
        return guarantee.when is None or known(guarantee.when, facts) is not False

    node_ = drawn.nodes[here.node]
    if here.items is None and node_.kind in guarantee.no and True in here.owed and may_hold(here.intent):
        return True
    for thread in here.items or ():
        forbidden = thread.node != here.node and drawn.nodes[thread.node].kind in guarantee.no
        if forbidden and thread.owed and may_hold(thread.intent):
            return True
    if guarantee.every and not node_.edges:
        return any(
            after and may_hold(intent)
            for owed in here.owed
            for intent, _, after, _ in leaves(drawn, guarantee, here.node, here.intent, owed, here.checked, here.visits)
        )
    return False


def has_breach(drawn: Flow, guarantee: Guarantee) -> bool:
    lacking = not guarantee.after and not guarantee.every
    first = Here(drawn.start, "", frozenset({lacking}), entered(drawn, (0,) * len(drawn.nodes), drawn.start))
    seen, waiting = {first}, deque([first])
    while waiting:
        here = waiting.popleft()
        if breaks(drawn, guarantee, here):
            return True
        for later in following(drawn, guarantee, here):
            if later not in seen:
                seen.add(later)
                waiting.append(later)
    return False


@settings(max_examples=400)
@given(mapping_flows(EXACT), st.sampled_from(GUARANTEES))
def test_a_guarantee_is_proved_exactly_when_no_item_breaks_it(drawn: Flow, guarantee: Guarantee) -> None:
    found = broken(Semantics(drawn, known, DOMAINS), guarantee)
    assert (found is None) == (not has_breach(drawn, guarantee))


@settings(max_examples=200)
@given(mapping_flows(), st.sampled_from(GUARANTEES))
def test_a_proof_holds_whatever_was_written_before(drawn: Flow, guarantee: Guarantee) -> None:
    if any(broken(Semantics(drawn, known, domains), guarantee) is None for domains in ({}, DOMAINS)):
        assert not has_breach(drawn, guarantee)


@settings(max_examples=200)
@given(mapping_flows())
def test_every_item_and_every_run_ends(drawn: Flow) -> None:
    """No run of a proved flow gets stuck or goes on for ever, in its items neither, nor for more steps than are
    allowed: a for-each takes one before its items, one for all of them and one after them."""
    if {problem.code for problem in prove(drawn, [], [], known, DOMAINS)} & {"SG131", "SG132", "SG133"}:
        return
    free = Guarantee(no=("nothing",), without=("nothing",))
    longest = dict[Here, int]()
    on_way = set[Here]()

    def steps(here: Here) -> int:
        if here in longest:
            return longest[here]
        assert here not in on_way, f"a run comes back to {here}"
        on_way.add(here)
        own = here.node if here.items is None or all(each.node == here.node for each in here.items) else ""
        if own and drawn.nodes[own].edges and (here.items is not None or not drawn.nodes[own].do):
            taken = {
                index for _, index, _, _ in leaves(drawn, free, own, here.intent, False, here.checked, here.visits)
            }
            assert STUCK not in taken, f"stuck at {here}"
        for each in here.items or ():
            if each.node != here.node:
                taken = {index for _, index, _, _ in leaves(drawn, free, *each, here.visits)}
                assert STUCK not in taken, f"stuck at {each}"
        later = [steps(each) for each in following(drawn, free, here)]
        begins = (
            here.items is not None
            and bool(here.items)
            and all(one.node == drawn.nodes[here.node].do for one in here.items)
        )
        on_way.discard(here)
        longest[here] = max(later, default=0) + _counts(drawn, here, begins=begins)
        return longest[here]

    first = Here(drawn.start, "", frozenset({False}), entered(drawn, (0,) * len(drawn.nodes), drawn.start))
    assert steps(first) <= most_steps(drawn)


def _counts(drawn: Flow, here: Here, *, begins: bool) -> int:
    """Steps of the graph that begin here."""
    if here.items is None:
        return 1
    ended = all(one.node == here.node for one in here.items)
    return int(bool(here.items) and ended) + int(begins and not ended)
