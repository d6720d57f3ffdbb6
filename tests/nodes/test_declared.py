"""A node is held to what its kind declares, at every visit."""

from typing import Any, Literal, cast

import pytest

from sluicegate.errors import RunError
from sluicegate.graphs.proofs.flow import Edge, Flow, FlowNode
from sluicegate.graphs.runtime.build import build
from sluicegate.graphs.runtime.checkpoints import open_checkpoints
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.runtime.run import Runner
from sluicegate.graphs.runtime.waiting.approvals import Approvals
from sluicegate.nodes._settings import NoSettings
from sluicegate.nodes.declared import declared
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.nodes.kinds.call_tool import CallTool
from sluicegate.nodes.kinds.policy_check import PolicyCheck
from sluicegate.nodes.kinds.terminal import Refuse
from sluicegate.nodes.writing.generation import said
from sluicegate.services import EmbeddingRequest, Message, ModelRequest, Services
from sluicegate.state import State
from tests.support.answering import state as opening
from tests.support.fakes import FakeModels, FakeRouter, FakeTools, services
from tests.support.flows import When
from tests.support.plugged import Nothing, kind, plugged

ANN = principal("ann", ["employee"])
ALLOWED = {"verdict": "allow", "rules": [], "reason": "", "errors": []}


PASSED = {"failed": False, "action": "pass", "failures": [], "results": []}
NAN = float("nan")


def returning(update: Any) -> Node:
    async def node(state: State, services: Services) -> dict[str, Any]:
        return update(state) if callable(update) else update

    return node


def lowered(state: State) -> dict[str, Any]:
    return {"intent": {**state["intent"], "risk": "low"}}


def lowered_in_place(state: State) -> dict[str, Any]:
    state["intent"]["risk"] = "low"
    return {"extra": {}}


def runner(home: Any, sneak: NodeKind) -> tuple[Runner, FakeTools]:
    """A workflow that calls a tool only for a low risk, and puts `sneak` before the question."""
    low = When({"intent.risk": lambda s: s["intent"]["risk"]}, lambda s: s["intent"]["risk"] == "low")
    nodes = {
        "c": FlowNode("c", "classify", edges=(Edge("sneak"),)),
        "sneak": FlowNode("sneak", sneak.name, edges=(Edge("act", "low"), Edge("no"))),
        "act": FlowNode("act", "call-tool", edges=(Edge("yes"),)),
        "yes": FlowNode("yes", "respond"),
        "no": FlowNode("no", "refuse"),
    }
    settings = {"c": NoSettings(), "sneak": Nothing(), "act": CallTool(), "yes": NoSettings(), "no": Refuse()}
    given = services(router=FakeRouter("access"))
    home.mkdir(parents=True, exist_ok=True)
    graph = build(Flow("c", nodes), {"low": low}, settings, checkpointer=open_checkpoints(home))
    return Runner(graph, given, tracer=given.tracer, approvals=Approvals(home)), given.tools  # type: ignore[arg-type, return-value]


WRONG: dict[str, tuple[NodeKind, str]] = {
    "lowers the risk": (
        kind("sneak", {"extra"}, node=returning(lowered)),
        r"sneak \(sneak\) wrote intent, which it does not declare",
    ),
    "forges verdicts": (
        kind("sneak", {"extra"}, node=returning({"approval": {"verdict": "approve"}, "policy": ALLOWED})),
        "wrote approval, policy, which",
    ),
    "rewrites history": (kind("sneak", {"extra"}, node=returning({"trail": []})), "wrote trail, which"),
    "ends in the middle": (
        kind("sneak", {"run"}, node=returning(lambda state: {"run": {**state["run"], "status": "answered"}})),
        "wrote run, which",
    ),
    "leaves out its verdict": (
        kind("sneak", {"policy"}, {"decides-policy"}, node=returning({})),
        "did not write policy",
    ),
    "writes half a verdict": (
        kind("sneak", {"policy"}, {"decides-policy"}, node=returning({"policy": {"verdict": "allow"}})),
        "wrote no policy.rules",
    ),
    "invents a verdict": (
        kind("sneak", {"policy"}, {"decides-policy"}, node=returning({"policy": {**ALLOWED, "verdict": "perhaps"}})),
        "wrote str as policy.verdict, which is one of allow, deny",
    ),
    "answers a question of yes or no in words": (
        kind("sneak", {"checks"}, {"checks"}, node=returning({"checks": {**PASSED, "failed": "no"}})),
        "wrote str as checks.failed, which is bool",
    ),
    "passes what should be refused": (
        kind("sneak", {"checks"}, {"checks"}, node=returning({"checks": {**PASSED, "action": "refuse"}})),
        "wrote False as checks.failed for 'refuse'",
    ),
    "measures nothing": (
        kind("sneak", {"intent"}, node=returning(lambda state: {"intent": {**state["intent"], "confidence": NAN}})),
        "wrote NoneType as intent.confidence, which is double",
    ),
    "classifies as a lower risk than the workflow says": (
        kind(
            "sneak",
            {"intent", "route"},
            {"classifies"},
            node=returning(lambda state: {**lowered(state), "route": state["route"]}),
        ),
        "wrote an intent.risk that is not the one of access",
    ),
    "classifies as what the workflow does not know": (
        kind(
            "sneak",
            {"intent", "route"},
            {"classifies"},
            node=returning(lambda s: {"intent": {**s["intent"], "label": "other"}, "route": s["route"]}),
        ),
        "wrote an intent that the workflow does not have",
    ),
}


@pytest.mark.parametrize("case", WRONG)
async def test_a_run_fails_where_a_node_breaks_its_declaration(own_home: Any, case: str) -> None:
    sneak, message = WRONG[case]
    with plugged(sneak):
        made, tools = runner(own_home, sneak)
        with pytest.raises(RunError, match=message) as caught:
            await made.run("Open the payroll folder", ANN, run="r-1")
        assert caught.value.code == "SG628"
        assert caught.value.hint
        # and fails again when it is taken up: nothing was decided on what it wrote
        with pytest.raises(RunError, match=message):
            await made.resume("r-1")
    assert tools.calls == []


async def test_who_does_not_say_that_it_calls_tools_calls_none(own_home: Any) -> None:
    async def quietly(state: State, services: Services) -> dict[str, Any]:
        await services.tools.call("create_ticket", {}, key="k", run=state["run"]["id"])
        return {"extra": {}}

    for effects, called in ((set[str](), 0), ({"calls-tool"}, 1)):
        sneak = kind("sneak", {"extra"}, effects, node=quietly)
        with plugged(sneak):
            made, tools = runner(own_home / str(called), sneak)
            if not called:
                with pytest.raises(RunError, match="called create_ticket, though it does not declare") as caught:
                    await made.run("Open the payroll folder", ANN)
                assert caught.value.code == "SG628"
            else:
                await made.run("Open the payroll folder", ANN)
        assert len(tools.calls) == called


@pytest.mark.parametrize(
    ("writes", "effects", "asks"),
    [({"extra"}, set[str](), False), ({"extra"}, {"generates"}, True), ({"extra", "answer"}, set[str](), True)],
)
async def test_who_does_not_say_that_it_asks_a_model_asks_none(writes: set[str], effects: set[str], asks: bool) -> None:
    """Embedding a text is no answer."""

    async def quietly(state: State, services: Services) -> dict[str, Any]:
        await services.models.embed(EmbeddingRequest("embedder", ["Hello"]))
        completion = await services.models.chat(ModelRequest("slm", [Message("user", "Hello")], max_tokens=5))
        return {"extra": {"letter": completion.text}}

    models = FakeModels()
    node = declared("n", kind("sneak", writes, effects, extra={"letter": str}), quietly)
    if asks:
        assert await node(cast("Any", {}), services(models=models)) == {"extra": {"letter": "Small answer [1]."}}
    else:
        with pytest.raises(RunError, match="asked slm, though it does not declare that") as caught:
            await node(cast("Any", {}), services(models=models))
        assert caught.value.code == "SG628"
    assert (len(models.embedded), len(models.asked)) == (1, int(asks))


async def test_an_end_that_sends_nothing_leaves_no_draft(own_home: Any) -> None:
    sneak = kind("sneak", {"answer"}, node=returning({"answer": said("s", "Words that nobody checked.")}))
    park = kind("park", {"run"}, {"ends"}, sends=False, node=returning({"run": {"status": "answered"}}))
    with plugged(sneak, park):
        flow = Flow("s", {"s": FlowNode("s", "sneak", edges=(Edge("p"),)), "p": FlowNode("p", "park")})
        given = services()
        own_home.mkdir(parents=True, exist_ok=True)
        graph = build(flow, {}, {"s": Nothing(), "p": Nothing()}, checkpointer=open_checkpoints(own_home))
        made = Runner(graph, given, tracer=given.tracer, approvals=Approvals(own_home))  # type: ignore[arg-type]
        outcome = await made.run("Hello", ANN)
    assert (outcome.status, outcome.text) == ("answered", "")


async def test_a_state_changed_in_place_changes_nothing(own_home: Any) -> None:
    sneak = kind("sneak", {"extra"}, node=returning(lowered_in_place))
    with plugged(sneak):
        made, tools = runner(own_home, sneak)
        outcome = await made.run("Open the payroll folder", ANN)
    assert (outcome.status, outcome.state["intent"]["risk"], tools.calls) == ("refused", "high", [])


async def test_what_is_declared_is_written(own_home: Any) -> None:
    sneak = kind("sneak", {"intent"}, node=returning(lowered))
    with plugged(sneak):
        made, tools = runner(own_home, sneak)
        outcome = await made.run("Open the payroll folder", ANN)
    assert (outcome.status, len(tools.calls)) == ("answered", 1)


async def test_an_end_says_how_a_run_ended_and_nothing_else_of_it(own_home: Any) -> None:
    end = kind("end", {"run"}, {"ends"}, node=returning({"run": {"status": "refused", "visits": {}, "id": "other"}}))
    with plugged(end):
        flow = Flow("c", {"c": FlowNode("c", "policy-check", edges=(Edge("e"),)), "e": FlowNode("e", "end")})
        given = services()
        own_home.mkdir(parents=True, exist_ok=True)
        graph = build(flow, {}, {"c": PolicyCheck(), "e": Nothing()}, checkpointer=open_checkpoints(own_home))
        made = Runner(graph, given, tracer=given.tracer, approvals=Approvals(own_home))  # type: ignore[arg-type]
        outcome = await made.run("Hello", ANN, run="r-1")
    assert outcome.status == "refused"
    assert (outcome.state["run"]["id"], outcome.state["run"]["visits"]) == ("r-1", {"c": 1, "e": 1})


EXTRA = {"large": bool, "grams": float, "colour": Literal["red", "blue"]}


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        ({"larg": True}, r"wrote extra.larg, which it does not declare"),
        ({"large": "no"}, r"wrote str as extra.large"),
        ({"large": 0}, r"wrote int as extra.large"),
        ({"grams": float("nan")}, r"wrote float as extra.grams"),
        ({"colour": "green"}, r"wrote str as extra.colour"),
    ],
)
async def test_what_is_under_extra_is_what_is_declared(written: dict[str, Any], wrong: str) -> None:
    node = declared("n", kind("weigh", {"extra"}, extra=EXTRA), returning({"extra": written}))
    with pytest.raises(RunError, match=wrong) as caught:
        await node(cast("Any", {"extra": {"other": 1}}), services())
    assert caught.value.code == "SG628"


async def test_what_others_wrote_under_extra_stays() -> None:
    node = declared("n", kind("weigh", {"extra"}, extra=EXTRA), returning({"extra": {"large": True}}))
    assert await node(cast("Any", {"extra": {"other": 1}}), services()) == {"extra": {"other": 1, "large": True}}


async def test_a_condenser_changes_nothing_of_a_request_but_how_it_is_read() -> None:
    given = services()
    asked = opening(given)

    def shorten(**changes: Any) -> Any:
        shortening = NodeKind(
            name="shorten", doc="", settings=NoSettings, make=lambda *_: returning({}),
            writes=frozenset({"request"}), effects=frozenset({"condenses"}),
        )  # fmt: skip
        node = declared("short", shortening, returning({"request": {**asked["request"], **changes}} if changes else {}))
        return node(asked, given)

    assert (await shorten(standalone="How?", standalone_confidence=1.0))["request"]["standalone"] == "How?"
    for changes in ({"channel": "phone"}, {"text": "Something else"}, {"language": "de"}):
        with pytest.raises(RunError, match=rf"SG628 short \(shorten\) changed request\.{next(iter(changes))}"):
            await shorten(**changes)
    with pytest.raises(RunError, match="did not write request"):
        await shorten()
