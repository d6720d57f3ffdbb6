"""Where a draft may be sent before it is whole, against every way that a run can take from its writer on."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.graphs.proofs.flow import Edge, Flow
from sluicegate.graphs.proofs.streaming import Streaming, streaming, streaming_by_intent
from sluicegate.nodes.attempts import AttemptLimits, Retry
from tests.support.proof_flows import flow, known, node

SENT = ("pii", "secrets")


def written(*checked: str | tuple[str, str], whole: tuple[str, ...] = ()) -> Flow:
    """A draft that is checked, and where it goes from there."""
    check = replace(
        node("check", "output-check", *checked), guards=frozenset(SENT + whole), whole_text=frozenset(whole)
    )
    others = (
        node("person", "human-interrupt", "respond"),
        node("again", "llm-synthesize", "respond"),
        node("ask", "ask", "respond"),
        node("later", "wait", "respond"),
        node("respond", "respond"),
        node("refuse", "refuse"),
    )
    intents: dict[str, dict[str, object]] = {"grave": {"risk": "high"}, "mild": {"risk": "low"}}
    return flow(
        node("start", "classify", "write"), node("write", "slm-answer", "check"), check, *others, intents=intents
    )


FAILED = "checks.failed"


@pytest.mark.parametrize(
    ("ways", "why_not"),
    [
        (written((FAILED, "refuse"), "respond"), ""),
        (written("respond"), ""),
        (written((FAILED, "person"), "respond"), "a person may hold it back at person"),
        (written((FAILED, "ask"), "respond"), "the requester is asked something else at ask before it is sent"),
        (written((FAILED, "later"), "respond"), "later waits before it is sent"),
        (written((FAILED, "again"), "respond"), "again (llm-synthesize) may come before it is sent"),
        (written((FAILED, "write"), "respond"), "write (slm-answer) may come before it is sent"),
        (written((FAILED, "refuse"), "respond", whole=("slm-review",)), "slm-review at check needs the whole text"),
    ],
)
def test_what_may_hold_a_draft_back_is_named(ways: Flow, why_not: str) -> None:
    by_intent = streaming_by_intent(ways, "write", known)
    assert {one.why_not for one in by_intent.values()} == {why_not}
    if not why_not:
        assert {tuple(sorted(one.guards)) for one in by_intent.values()} == {SENT}


def test_what_is_known_of_the_request_rules_out_branches() -> None:
    ways = written(("intent.risk == 'high'", "person"), (FAILED, "refuse"), "respond")
    assert {intent: bool(one.why_not) for intent, one in streaming_by_intent(ways, "write", known).items()} == {
        "grave": True,
        "mild": False,
    }


def test_an_intent_that_never_comes_to_the_writer_has_no_say() -> None:
    ways = written("respond")
    start = node("start", "classify", ("intent.risk == 'high'", "refuse"), "write")
    assert list(streaming_by_intent(replace(ways, nodes={**ways.nodes, "start": start}), "write", known)) == ["mild"]


def test_a_writer_that_may_be_tried_again_is_not_streamed() -> None:
    ways = written("respond")
    tried = replace(ways.nodes["write"], limits=AttemptLimits(retry=Retry(times=1)))
    found = streaming(replace(ways, nodes={**ways.nodes, "write": tried}), "write", lambda _: None)
    assert found.why_not == "write may be tried again, and write something else"


def test_its_failure_may_lead_to_an_end_but_to_no_other_draft() -> None:
    for target, why_not in (("refuse", ""), ("again", "again (llm-synthesize) may come before it is sent")):
        ways = written("respond")
        failing = replace(ways.nodes["write"], on_error=Edge(target))
        found = streaming(replace(ways, nodes={**ways.nodes, "write": failing}), "write", lambda _: None)
        assert found.why_not == why_not


def test_every_branch_of_a_fork_may_hold_it_back() -> None:
    ways = written("fork")
    nodes = {
        **ways.nodes,
        "fork": replace(node("fork", "parallel", "left", "right"), join="respond"),
        "left": node("left", "tag", "respond"),
        "right": node("right", "retrieve", "respond"),
    }
    found = streaming(replace(ways, nodes=nodes), "write", lambda _: None)
    assert found.why_not == "right (retrieve) may come before it is sent"


def test_what_is_done_for_items_is_not_streamed_and_not_streamed_past() -> None:
    ways = written("map")
    nodes = {
        **ways.nodes,
        "map": replace(node("map", "for-each", "respond"), do="each"),
        "each": replace(node("each", "slm-answer", "map"), within="map"),
    }
    mapped = replace(ways, nodes=nodes)
    assert streaming(mapped, "each", lambda _: None).why_not == "each writes for an item of map"
    assert streaming(mapped, "write", lambda _: None).why_not == "map (for-each) may come before it is sent"


KINDS = ("output-check", "policy-check", "human-interrupt", "slm-answer", "retrieve", "tag", "respond", "refuse")
CONDITIONS = ("intent.risk == 'high'", "checks.failed", "intent.risk == 'low' && checks.failed", "spend.stopped")


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    names = [f"n{number}" for number in range(draw(st.integers(2, 6)))]
    nodes = [node("write", "slm-answer", *draw(st.lists(st.sampled_from(names), min_size=1, max_size=1)))]
    for name in names:
        kind = draw(st.sampled_from(KINDS))
        branches: list[str | tuple[str, str]] = []
        if kind not in ("respond", "refuse"):
            branches += draw(st.lists(st.tuples(st.sampled_from(CONDITIONS), st.sampled_from(names)), max_size=2))
            branches.append(draw(st.sampled_from(names)))
        guards = draw(st.frozensets(st.sampled_from(["pii", "tone", "slm-review"]), min_size=1))
        made = replace(node(name, kind, *branches), guards=guards if "check" in kind else frozenset())
        nodes.append(replace(made, whole_text=made.guards & {"slm-review"}))
    return flow(*nodes)


def _ways(drawn: Flow, facts: Mapping[str, object]) -> list[tuple[str, ...]]:
    """Every way from the writer to an end or a node that it has been to, with the branches that are open on it."""
    ways, waiting = list[tuple[str, ...]](), list[tuple[str, ...]]([("write",)])
    while waiting:
        way = waiting.pop()
        for edge in drawn.nodes[way[-1]].edges:
            value = True if edge.condition is None else known(edge.condition, facts)
            if value is False:
                continue
            longer = (*way, edge.to)
            target = drawn.nodes[edge.to]
            (waiting if target.edges and edge.to not in way else ways).append(longer)
            if value:
                break
    return ways


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(flows(), st.sampled_from([{}, {"intent.risk": "high"}, {"intent.risk": "low"}]))
def test_on_no_way_is_it_held_back_or_sent_without_a_check_s_guards(drawn: Flow, facts: dict[str, object]) -> None:
    found = streaming(drawn, "write", lambda condition: known(condition, facts))
    ways = _ways(drawn, facts)
    later = [drawn.nodes[name] for way in ways for name in way[1:]]
    if found.why_not:
        assert found == Streaming(why_not=found.why_not)
        harmless = {"output-check", "policy-check", "tag", "respond", "refuse"}
        assert any(each.kind not in harmless or (each.kind == "output-check" and each.whole_text) for each in later)
        return
    assert {each.kind for each in later} <= {"output-check", "policy-check", "tag", "respond", "refuse"}
    for each in later:
        if each.kind == "output-check":
            assert each.guards <= set(found.guards)
            assert "slm-review" not in each.guards
