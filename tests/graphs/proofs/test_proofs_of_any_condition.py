"""Proofs with real conditions, in branches, `when` and `where`, against every run with every value of their fields."""

import functools
import itertools
from collections import deque
from collections.abc import Mapping

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sluicegate.graphs.conditions.conditions import Condition, Conditions
from sluicegate.graphs.conditions.regions import regions
from sluicegate.graphs.proofs import Guarantee, Semantics, broken
from sluicegate.graphs.proofs.flow import Flow
from tests.support.proof_flows import flow, node

pytestmark = pytest.mark.slow

FIELDS: dict[str, tuple[object, ...]] = {
    "request.channel": ("web", "a && b", "x // y"),
    "request.size": (50, 100),
    "principal.clearance": ("public", "internal"),
    "spend.stopped": (True, False),
}
STEADY = tuple(name for name in FIELDS if not name.startswith("spend."))


class Compiled:
    """Implements `semantics.Known` with the library that decides at run time."""

    @functools.cache  # noqa: B019
    def of(self, text: str) -> Condition:
        return Conditions().compile(text)

    def __call__(self, condition: str, facts: Mapping[str, object], /) -> bool | None:
        return self.of(condition).known(facts)

    def reads(self, condition: str, /) -> frozenset[str]:
        return self.of(condition).fields


KNOWN = Compiled()


def literal(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value).lower()


@st.composite
def conditions(draw: st.DrawFn, names: tuple[str, ...] = tuple(FIELDS), depth: int = 2) -> str:
    """A condition, also in the forms that hide an `&&` from who reads text: negations, strings, comments, macros."""
    name = draw(st.sampled_from(names))
    value, other = draw(st.permutations(FIELDS[name]))[:2]
    atoms = [
        f"{name} == {literal(value)}",
        f"{literal(value)} == {name}",
        f"{name} != {literal(value)}",
        f"{name} in [{literal(value)}]",
        f"[{literal(value)}].exists(each, {name} == each && {name} != {literal(other)})",
        f'{name} == {literal(value)} // && {draw(st.sampled_from(names))} == "web"\n',
    ]
    if isinstance(value, bool):
        atoms += [name, f"!{name}"]
    if isinstance(value, int) and not isinstance(value, bool):
        atoms += [f"{name} < 75", f"{name} >= 75"]
    if not depth:
        return draw(st.sampled_from(atoms))
    inner = _conditions(names, depth - 1)
    form = draw(
        st.sampled_from(
            ["{a}", "({a}) && ({b})", "({a}) || ({b})", "!({a})", "!(({a}) && ({b}))", "({a}) ? ({b}) : ({c})"]
        )
    )
    return form.format(a=draw(inner), b=draw(inner), c=draw(inner))


_conditions = functools.cache(conditions)
"""Hypothesis examines each strategy that is made."""


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    names = [f"n{index}" for index in range(draw(st.integers(2, 5)))]
    nodes = []
    for name in names:
        branches: list[tuple[str, str] | str] = []
        if name != names[-1]:
            branches += draw(st.lists(st.tuples(_conditions(), st.sampled_from(names)), max_size=2))
            branches.append(draw(st.sampled_from(names)))
        nodes.append(node(name, draw(st.sampled_from("xnws")), *branches))
    return flow(*nodes)


def semantics(drawn: Flow, guarantee: Guarantee) -> Semantics:
    """With the values that conditions can tell apart, as a workflow is loaded."""
    texts = [edge.condition for each in drawn.nodes.values() for edge in each.edges]
    texts += [guarantee.when, guarantee.where]
    return Semantics(drawn, KNOWN, regions(KNOWN.of(text) for text in texts if text is not None))


def breach(drawn: Flow, guarantee: Guarantee) -> list[str] | None:
    """The route of a run that breaks the guarantee, found by following runs with all values given."""
    for values in itertools.product(*(FIELDS[name] for name in STEADY)):
        steady = dict(zip(STEADY, values, strict=True))
        if guarantee.when is not None and KNOWN(guarantee.when, steady) is not True:
            continue
        first = (drawn.start, not guarantee.after)
        came: dict[tuple[str, bool], tuple[str, bool] | None] = {first: None}
        waiting = deque([first])
        while waiting:
            now = waiting.popleft()
            here = drawn.nodes[now[0]]
            if now[1] and here.kind in guarantee.no:
                route = [now[0]]
                while (earlier := came[now]) is not None:
                    route.append(earlier[0])
                    now = earlier
                return route[::-1]
            for stopped in FIELDS["spend.stopped"]:
                facts = {**steady, "spend.stopped": stopped}
                owed = now[1] and here.kind not in guarantee.without
                if here.kind in guarantee.after:
                    owed |= guarantee.where is None or KNOWN(guarantee.where, facts) is True
                for edge in here.edges:
                    if edge.condition is None or KNOWN(edge.condition, facts):
                        if (edge.to, owed) not in came:
                            came[edge.to, owed] = now
                            waiting.append((edge.to, owed))
                        break
    return None


small_public_web = "!(request.channel == 'web' && principal.clearance == 'public' && request.size < 75)"
asked_of_the_public = flow(
    node("n0", "x", ("principal.clearance == 'public'", "n1"), "n2"), node("n1", "w", "n2"), node("n2", "n")
)


@settings(max_examples=600)
@given(flows(), st.none() | _conditions(STEADY), st.none() | _conditions(), st.booleans())
@example(asked_of_the_public, small_public_web, None, False)
@example(asked_of_the_public, "request.size > 1 // && principal.clearance == 'public'", None, False)
@example(asked_of_the_public, "request.channel == ' && principal.clearance == '", None, False)
def test_what_is_proved_no_run_breaks(drawn: Flow, when: str | None, where: str | None, after: bool) -> None:
    guarantee = Guarantee(
        no=("n",), without=("w",), after=("s",) if after else (), when=when, where=where if after else None
    )
    if broken(semantics(drawn, guarantee), guarantee) is None:
        assert breach(drawn, guarantee) is None


def test_a_conjunction_in_a_when_is_used() -> None:
    both = Guarantee(no=("n",), without=("w",), when="principal.clearance == 'public' && request.size == 50")
    assert broken(semantics(asked_of_the_public, both), both) is None
    alone = Guarantee(no=("n",), without=("w",), when="request.size == 50")
    assert broken(semantics(asked_of_the_public, alone), alone) is not None
