"""A real graph on stand-in services, traced: what engine, nodes and wrappers together leave in the store."""

from pathlib import Path

from sluicegate.graphs.proofs.flow import Edge, Flow, FlowNode
from sluicegate.graphs.runtime.build import build
from sluicegate.graphs.runtime.checkpoints import SqliteCheckpoints
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.runtime.run import Runner
from sluicegate.graphs.runtime.waiting.approvals import Approvals
from sluicegate.nodes._settings import NoSettings
from sluicegate.nodes.kinds.answering import SlmAnswer
from sluicegate.nodes.kinds.human_interrupt import HumanInterrupt
from sluicegate.nodes.kinds.output_check import OutputCheck
from sluicegate.nodes.kinds.policy_check import PolicyCheck
from sluicegate.nodes.kinds.retrieve import Retrieve
from sluicegate.nodes.kinds.terminal import Refuse
from sluicegate.observe.tracing.instrument import traced
from sluicegate.observe.tracing.spans import root_id
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.tracing.tracer import RecordingTracer
from tests.support.fakes import services
from tests.support.flows import When
from tests.support.scenario import open_tracer

DENIED = When({"policy.verdict": lambda s: s["policy"]["verdict"]}, lambda s: s["policy"]["verdict"] == "deny")
APPROVED = When(
    {"approval.verdict": lambda s: s["approval"]["verdict"]}, lambda s: s["approval"]["verdict"] == "approve"
)


def runner(home: Path, tracer: RecordingTracer) -> Runner:
    def node(name: str, kind: str, *edges: tuple[str | None, str]) -> FlowNode:
        return FlowNode(name, kind, edges=tuple(Edge(to, when) for when, to in edges))

    nodes = [
        node("classify", "classify", (None, "gate")),
        node("gate", "policy-check", ("denied", "refuse"), (None, "facts")),
        node("facts", "retrieve", (None, "answer")),
        node("answer", "slm-answer", (None, "check")),
        node("check", "output-check", (None, "approve")),
        node("approve", "human-interrupt", ("approved", "respond"), (None, "refuse")),
        node("respond", "respond"),
        node("refuse", "refuse"),
    ]
    settings = {
        "classify": NoSettings(),
        "gate": PolicyCheck(guards=["injection"]),
        "facts": Retrieve(index="kb"),
        "answer": SlmAnswer(prompt="answer"),
        "check": OutputCheck(guards=["pii"]),
        "approve": HumanInterrupt(approvers="role:helpdesk-lead", timeout=3600.0),
        "respond": NoSettings(),
        "refuse": Refuse(),
    }
    flow = Flow("classify", {each.name: each for each in nodes})
    saver = SqliteCheckpoints(home / "checkpoints.sqlite")
    graph = build(flow, {"denied": DENIED, "approved": APPROVED}, settings, checkpointer=saver)
    return Runner(graph, traced(services(), tracer), tracer=tracer, approvals=Approvals(home))


async def test_a_run_with_a_wait_and_a_resume(own_home: Path) -> None:
    own_home.mkdir()
    store, tracer = open_tracer(own_home)
    waiting = await runner(own_home, tracer).run("How do I reset it?", principal("ann", ["employee"]), session="s-9")
    run = waiting.run
    tracer.close()
    store.close()

    store, tracer = open_tracer(own_home)
    assert store.run(run)["status"] == "waiting"
    await runner(own_home, tracer).decide(run, "approve", principal("lea", ["helpdesk-lead"]), reason="fine")
    tracer.close()

    row = store.run(run)
    assert (row["status"], row["intent"], row["confidence"], row["threshold"]) == ("answered", "question", 0.9, 0.7)
    assert (row["approval"], row["session"], row["slm_calls"]) == ("approve", "s-9", 1)
    assert row["metadata"]["channel"] == "cli"
    steps = [step["node"] for step in store.query("SELECT node FROM steps WHERE level = 'DEFAULT' ORDER BY start_ns")]
    assert steps == ["classify", "gate", "facts", "answer", "check", "approve", "approve", "respond"]
    assert [(each["node"], each["taken"]) for each in store.decisions(run)] == [
        ("classify", "gate"), ("gate", "facts"), ("facts", "answer"), ("answer", "check"), ("check", "approve"),
        ("approve", "respond"),
    ]  # fmt: skip
    [gate] = [each for each in store.decisions(run) if each["node"] == "gate"]
    assert (gate["values"], gate["not_taken"], gate["confidence"]) == ({"policy.verdict": "allow"}, ["refuse"], 0.9)
    [call] = store.model_calls(run)
    assert (call["model"], call["prompt"]) == ("fake:slm", "answer@1")
    spans = store.spans(run)
    names = {span["span_id"]: span["name"] for span in spans}
    nested = {(names.get(span["parent"]), span["name"]) for span in spans}
    assert {
        ("classify", "route"), ("gate", "policy ask"), ("gate", "guard request"), ("facts", "retrieval kb"),
        ("answer", "budget reserve"), ("answer", "chat slm"), ("answer", "budget settle"), ("check", "guard output"),
    } <= nested  # fmt: skip
    resumed = next(span for span in spans if span["name"].endswith("(resume)"))
    assert resumed["parent"] == root_id(run)
    by_node = {span["name"]: span["attributes"] for span in spans if "node" in span["attributes"]}
    assert by_node["answer"]["models_allowed"] == {"fake:slm": ["yes"]}
    assert not any(name == "policy use_model" for name in names.values())
    assert [by_node[node]["step"] for node in ("classify", "answer", "approve", "respond")] == [1, 4, 6, 7]
    approve = [span for span in spans if span["name"] == "approve"]
    assert approve[0]["attributes"]["interrupted"] is True
    assert approve[1]["attributes"]["waited_s"] == 0.0, "the stand-in clock stands still"
    assert {score["name"] for score in store.scores(run)} >= {
        "route_confidence", "answer_confidence", "check_pii", "policy_pass", "approval", "cost_usd", "latency_ms",
    }  # fmt: skip
    assert "ann" not in str(row["user"])
    store.close()


def test_the_store_can_be_opened_while_another_has_it_open(tmp_path: Path) -> None:
    one, two = Store(tmp_path / "store.sqlite"), Store(tmp_path / "store.sqlite")
    tracer = RecordingTracer(one)
    with tracer.run("r", workflow="w"):
        pass
    assert two.run("r")["run_id"] == "r"
    tracer.close()
    one.close()
    two.close()
