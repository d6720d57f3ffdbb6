"""What is done for each item of a list: in which order it comes back, what is lost with one that fails, how often."""

import asyncio
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import ModelError, RunError
from sluicegate.graphs.proofs.flow import Edge
from sluicegate.graphs.runtime.steps import items
from sluicegate.graphs.session import history
from sluicegate.graphs.session.items import items_of
from sluicegate.graphs.session.view import Items
from sluicegate.nodes.kinds.call_tool import CallTool
from sluicegate.nodes.kinds.tag import Tag, TagWords
from sluicegate.policies.cedar.entities import rank
from sluicegate.services import Completion, Decision, ModelRequest
from sluicegate.state import ItemFailure, State
from tests.support import ROOT
from tests.support.fakes import FakePolicy, FakeTools, FakeTracer
from tests.support.flows import ANN, way
from tests.support.mapping import ASSESS, Echo, ManyDocuments, flow, given, node, runner, settings

BROKEN = ModelError("SG305", "not JSON")


def notes(state: State) -> list[dict[str, Any]]:
    return (state.get("items") or {})["notes"]


def failures(state: State) -> list[ItemFailure]:
    return (state.get("failed_items") or {})["notes"]


def texts(state: State) -> list[str]:
    return [each["answer"]["text"] for each in notes(state)]


@dataclass
class Backwards(Echo):
    """The later a document was sent, the sooner it is answered; `most` counts how many are asked at a time."""

    here: int = 0
    most: int = 0

    async def chat(self, request: ModelRequest) -> Completion:
        self.here += 1
        self.most = max(self.most, self.here)
        number = sum(f"Text {n}." in request.messages[-1].content for n in range(5))
        for _ in range(10 * (5 - number)):
            await asyncio.sleep(0)
        self.here -= 1
        return await super().chat(request)


@pytest.mark.parametrize("at_once", [1, 2, 5])
async def test_results_keep_the_order_of_the_list(at_once: int, own_home: Path) -> None:
    models = Backwards()
    outcome = await runner(own_home, own=settings(at_once=at_once), using=given(models=models)).run("How?", ANN)
    state = outcome.state
    assert way(state) == ["facts", "each", "draft", "respond"]
    assert [each["index"] for each in notes(state)] == [0, 1, 2, 3, 4]
    assert [each["value"]["id"] for each in notes(state)] == [f"kb-{n}" for n in range(5)]
    assert all(f"Text {n}." in text for n, text in enumerate(texts(state)))
    assert failures(state) == []
    assert models.most == at_once


async def test_an_item_sees_its_own_document_and_no_other(own_home: Path) -> None:
    outcome = await runner(own_home).run("How?", ANN)
    for n, text in enumerate(texts(outcome.state)):
        assert "question=How?" in text
        assert [other for other in range(5) if f"Text {other}." in text] == [n]
    assert [each["id"] for each in outcome.state["documents"]] == [f"kb-{n}" for n in range(5)]


async def test_what_is_written_for_an_item_stays_with_it(own_home: Path) -> None:
    outcome = await runner(own_home).run("How?", ANN)
    state, (draft,) = outcome.state, [outcome.state["answer"]]
    assert "item" not in state
    assert not state.get("maps")
    assert draft["by"] == "draft"
    assert state["run"]["visits"] == {"facts": 1, "each": 1, "draft": 1, "respond": 1}
    assert state["spend"]["slm_calls"] == 6
    entry = state["trail"][1]
    assert [each["index"] for each in entry.get("items", ())] == [0, 1, 2, 3, 4]
    assert all([one["node"] for one in each["trail"]] == ["assess"] for each in entry.get("items", ()))


async def test_a_prompt_shows_the_item_and_later_ones_the_results(own_home: Path) -> None:
    outcome = await runner(own_home).run("How?", ANN)
    assert "item=Text 3." in texts(outcome.state)[3]
    assert "item.index=3" in texts(outcome.state)[3]
    assert "item.id=kb-3" in texts(outcome.state)[3]
    draft = outcome.state["answer"]["text"]
    assert "items.notes=1. " in draft
    assert all(f"Text {n}." in draft for n in range(5))


async def test_one_poisoned_item_does_not_lose_the_rest(own_home: Path) -> None:
    models = Echo(poison={"item.index=2": BROKEN})
    outcome = await runner(own_home, using=given(models=models)).run("How?", ANN)
    state = outcome.state
    assert outcome.status == "answered"
    assert [each["index"] for each in notes(state)] == [0, 1, 3, 4]
    assert "4 of 5 items have results" in state["trail"][1]["branch"]["reason"]
    assert failures(state) == [{"index": 2, "node": "assess", "cause": "error", "code": "SG305", "reason": "not JSON"}]
    assert "failure" not in state
    assert "failed_items.notes=3. SG305" in state["answer"]["text"]


@pytest.mark.parametrize(
    ("at_least", "poisoned", "enough"),
    [(1, 4, True), (1, 5, False), (3, 2, True), (3, 3, False), (0.8, 1, True), (0.8, 2, False), (0, 5, True)],
)
async def test_enough_items_must_have_a_result(at_least: float, poisoned: int, enough: bool, own_home: Path) -> None:
    models = Echo(poison={f"item.index={n}": BROKEN for n in range(poisoned)}, usd=0.001)
    made = runner(own_home, flow(on_error=True), settings(at_least=at_least), given(models=models))
    state = (await made.run("How?", ANN)).state
    assert way(state)[2] == ("draft" if enough else "sorry")
    if not enough:
        assert (state["failure"]["code"], state["failure"]["node"]) == ("SG636", "each")
        assert "items" not in state
        assert state["spend"]["slm_calls"] == 5 - poisoned


async def test_too_few_results_without_an_error_branch_fail_the_run(own_home: Path) -> None:
    models = Echo(poison={"Text": BROKEN})
    with pytest.raises(RunError) as failed:
        await runner(own_home, using=given(models=models)).run("How?", ANN)
    assert failed.value.code == "SG636"


async def test_of_an_empty_list_nothing_is_asked(own_home: Path) -> None:
    outcome = await runner(own_home, using=given(retriever=ManyDocuments(count=0))).run("How?", ANN)
    assert way(outcome.state) == ["facts", "each", "draft", "respond"]
    assert notes(outcome.state) == []


@pytest.mark.slow
@pytest.mark.parametrize("size", [21, 1_500])
async def test_more_items_than_allowed_are_refused_or_cut(size: int, own_home: Path) -> None:
    many = given(retriever=ManyDocuments(count=size))
    refused = await runner(own_home / "refused", flow(on_error=True), using=many).run("How?", ANN)
    assert way(refused.state) == ["facts", "each", "sorry"]
    assert refused.state["failure"]["code"] == "SG635"
    assert f"{size:,} elements" in refused.state["failure"]["reason"]
    assert "spend" not in refused.state
    cut = await runner(own_home / "cut", own=settings(excess="cut"), using=many).run("How?", ANN)
    assert [each["index"] for each in notes(cut.state)] == list(range(20))
    assert f"{size:,} elements" in cut.state["trail"][1]["branch"]["reason"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("over", "said"),
    [
        ("extraction.fields.positions", "not known"),
        ("documents[0].title", "not a list"),
        ("documents[0].span[0]", "a number"),
    ],
)
async def test_what_is_no_list_is_refused(over: str, said: str, own_home: Path) -> None:
    outcome = await runner(own_home, flow(on_error=True), settings(over=over)).run("How?", ANN)
    assert outcome.state["failure"]["code"] == "SG634"
    assert said in outcome.state["failure"]["reason"]


async def test_a_list_may_be_filtered(own_home: Path) -> None:
    own = settings(over="documents.filter(d, d.id in ['kb-1', 'kb-4'])")
    outcome = await runner(own_home, own=own).run("How?", ANN)
    assert ["Text 1." in texts(outcome.state)[0], "Text 4." in texts(outcome.state)[1]] == [True, True]


async def test_the_item_may_stand_for_the_request(own_home: Path) -> None:
    own = settings(ask="Is this about {{question}} {{item}}")
    outcome = await runner(own_home, own=own).run("pears?", ANN)
    assert "question=Is this about pears? Text 0." in texts(outcome.state)[0]
    assert outcome.state["request"]["text"] == "pears?"


CHAIN = (
    replace(ASSESS, edges=(Edge("skip", "item.index == 1"), Edge("about"))),
    node("about", "tag", (None, "each"), within="each", on_error=ASSESS.on_error),
    node("skip", "tag", (None, "each"), within="each", on_error=ASSESS.on_error),
)


async def test_a_chain_branches_on_the_item(own_home: Path) -> None:
    tags = {name: Tag(tags={name: TagWords(limit=0.1)}, of="draft") for name in ("about", "skip")}
    state = (await runner(own_home, flow(*CHAIN), {**settings(), **tags}).run("How?", ANN)).state
    paths = [[one["node"] for one in each["trail"]] for each in state["trail"][1].get("items", ())]
    assert paths == [["assess", "skip" if n == 1 else "about"] for n in range(5)]
    assert [each["tags"]["found"] for each in notes(state)] == [[path[1]] for path in paths]
    assert "tags" not in state


async def test_results_are_fields_to_branch_on(own_home: Path) -> None:
    when = "size(items.notes) == 5 && items.notes.all(n, n.answer.by == 'assess') && size(failed_items.notes) == 0"
    of = flow(then=((when, "draft"), (None, "sorry")))
    assert way((await runner(own_home, of).run("How?", ANN)).state)[2] == "draft"


async def test_what_items_rest_on_is_among_the_sources_of_the_run(own_home: Path) -> None:
    """Whoever may not read a document that an item has found is not shown what follows from it."""
    search = node("search", "retrieve", (None, "assess"), within="each", on_error=ASSESS.on_error)
    of = flow(search, ASSESS)
    of = replace(of, nodes={**of.nodes, "each": replace(of.nodes["each"], do="search")})
    retriever = ManyDocuments(count=2)
    own = {
        **settings(do="search", over="tags.found"),
        "search": settings()["facts"],
        "facts": Tag(tags={"a": TagWords(limit=0.1)}),
    }
    of = replace(of, nodes={**of.nodes, "facts": node("facts", "tag", (None, "each"))})
    policy = FakePolicy()
    made = runner(own_home, of, own, given(retriever=retriever, policy=policy))
    outcome = await made.run("How?", ANN)
    assert "documents" not in outcome.state
    # nor is a model that a policy keeps from it shown what an item has found in it
    (*_, drafting) = (context for _, action, _, context in policy.asked if action == "use_model")
    assert drafting["classification"] == rank("internal")
    assert [each["id"] for each in outcome.state["earlier_documents"]] == ["kb-0", "kb-1"]
    retriever.forbidden = frozenset({"kb-1"})
    assert "1 of the 2 passages" in made.withheld(outcome.state, ANN)


ORDER = replace(ASSESS, kind="call-tool")
ARGUMENTS = {"title": "{{item.title}}", "place": "{{ item.index }}", "note": "as {{item.id}}", "gone": "{{item.nope}}"}


async def test_each_item_has_its_own_effect_and_keeps_it(own_home: Path) -> None:
    """Two items with equal arguments are two calls; the same item again is the same call."""
    own = {**settings(), "assess": CallTool(tool="create_ticket", arguments={"title": "{{item.title}}"})}
    tools = FakeTools()
    made = runner(own_home, flow(ORDER), own, given(tools=tools))
    state = (await made.run("How?", ANN, run="first")).state
    assert [arguments for _, arguments, _ in tools.calls] == [{"title": "Passwords"}] * 5
    keys = [key for _, _, key in tools.calls]
    assert len({*keys}) == 5
    assert {call["key"] for call in state["tool_calls"]} == {*keys}
    again = FakeTools()
    await runner(own_home / "again", flow(ORDER), own, given(tools=again)).run("How?", ANN, run="first")
    assert {key for _, _, key in again.calls} == {*keys}


async def test_arguments_have_the_types_of_the_items_parts(own_home: Path) -> None:
    own = {**settings(at_once=1), "assess": CallTool(tool="create_ticket", arguments={**ARGUMENTS, "count": 3})}
    tools = FakeTools()
    await runner(own_home, flow(ORDER), own, given(tools=tools)).run("How?", ANN)
    assert tools.calls[2][1] == {"title": "Passwords", "place": 2, "note": "as kb-2", "count": 3}


async def test_policies_decide_on_each_item(own_home: Path) -> None:
    class Only(FakePolicy):
        def decide(self, principal: Any, action: str, resource: Any, context: Any) -> Decision:
            super().decide(principal, action, resource, context)
            denied = action == "call_tool" and context["item"]["parts"]["id"] == "kb-3"
            return Decision(not denied, ("no",) if denied else (), "")

    own = {**settings(), "assess": CallTool(tool="create_ticket", arguments={"title": "{{item.id}}"})}
    tools, policy = FakeTools(), Only()
    state = (await runner(own_home, flow(ORDER), own, given(tools=tools, policy=policy)).run("How?", ANN)).state
    assert sorted(arguments["title"] for _, arguments, _ in tools.calls) == ["kb-0", "kb-1", "kb-2", "kb-4"]
    assert [each["tool_calls"][0]["status"] for each in notes(state)] == ["done"] * 3 + ["denied", "done"]
    assert all("item" in context for _, action, _, context in policy.asked if action == "call_tool")
    assert not any("item" in context for _, action, _, context in policy.asked[-1:] if action == "use_model")


async def test_each_item_is_observed_beneath_the_for_each(own_home: Path) -> None:
    tracer = FakeTracer()
    await runner(own_home, using=given(tracer=tracer)).run("How?", ANN)
    assert tracer.seen.count("assess") == 5
    assert tracer.seen.count("each") == 1


@pytest.mark.slow
async def test_after_a_kill_only_the_items_under_way_are_done_again(own_home: Path) -> None:
    script = f"from tests.support.mapping import killed_at; killed_at({str(own_home)!r}, 'item.index=3')"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    models = Echo()
    made = runner(own_home, own=settings(at_once=1), using=given(models=models))
    state = (await made.resume("killed")).state
    asked = [messages[-1].content for _, messages in models.asked][:-1]
    assert [sum(f"item.index={n}\n" in text for text in asked) for n in range(5)] == [0, 0, 0, 1, 1]
    assert all(f"Text {n}." in text for n, text in enumerate(texts(state)))
    assert state["spend"]["slm_calls"] == 6


async def test_a_copy_of_a_run_has_its_items_and_goes_on_after_them(own_home: Path) -> None:
    models = Echo()
    made = runner(own_home, using=given(models=models))
    before = (await made.run("How?", ANN, run="first")).state
    snapshots = history.lineage(made.graph, "first")
    ahead = history.before(snapshots, "draft")
    assert not history.before(snapshots, "each").values.get("maps")
    asked = len(models.asked)
    history.copied(made.graph, snapshots[snapshots.index(ahead) :], "second", lambda state: state)
    await made.graph.ainvoke(None, {"configurable": {"thread_id": "second"}}, context=made.services)
    after = history.head(made.graph, "second").values
    assert after["items"] == before.get("items")
    assert [each["node"] for each in after["trail"]] == way(before)
    assert len(models.asked) == asked + 1


async def test_items_are_shown_with_what_has_become_of_them(own_home: Path) -> None:
    own, models = settings(), Echo(poison={"item.index=2": BROKEN})
    made = runner(own_home, own=own, using=given(models=models))
    state = (await made.run("How?", ANN, run="shown")).state
    shown = [*items_of(state, own)]
    assert [(one.index, one.status, one.way) for one in shown] == [
        (n, "failed" if n == 2 else "done", ("assess",)) for n in range(5)
    ]
    assert shown[2].reason == "SG305 not JSON"
    assert shown[4].value["id"] == "kb-4"
    under_way = [each.values for each in history.lineage(made.graph, "shown") if each.values.get("maps")]
    states = [[one.status for one in items_of(values, own)] for values in reversed(under_way)]
    assert states == [["to do"] * 5, ["done", "done", "failed", "done", "done"]]
    html, text = Items(shown)._repr_html_(), repr(Items(shown))
    assert html.count('<span class="chip answered">done</span>') == 4
    assert '<span class="chip refused">failed</span>SG305 not JSON' in html
    assert "each 2   failed  assess SG305 not JSON" in text.splitlines()
    assert repr(Items()) == "no items"


async def test_an_item_needs_what_langgraph_reads_the_state_with(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A private name of LangGraph's, checked where it is used: a version without it is said, and nothing is asked."""
    monkeypatch.setattr(items, "_READ", "renamed")
    models = Echo()
    with pytest.raises(RunError, match="this version of LangGraph gives a sent task no way to read the state"):
        await runner(own_home, using=given(models=models)).run("How?", ANN)
    assert models.asked == []
