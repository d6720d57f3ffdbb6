"""A flow of every shape of step, on conditions in Python, and a runner for it on stand-in services."""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sluicegate.errors import RunError
from sluicegate.graphs.proofs.flow import Edge, Flow, FlowNode
from sluicegate.graphs.runtime.build import build
from sluicegate.graphs.runtime.checkpoints import open_checkpoints
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.runtime.run import Runner
from sluicegate.graphs.runtime.waiting.approvals import Approvals
from sluicegate.nodes._settings import NoSettings
from sluicegate.nodes.kinds.answering import LlmSynthesize, SlmAnswer
from sluicegate.nodes.kinds.call_tool import CallTool
from sluicegate.nodes.kinds.human_interrupt import HumanInterrupt
from sluicegate.nodes.kinds.output_check import OutputCheck
from sluicegate.nodes.kinds.policy_check import PolicyCheck
from sluicegate.nodes.kinds.retrieve import Retrieve
from sluicegate.nodes.kinds.terminal import Refuse
from sluicegate.services import Services
from sluicegate.state import State
from sluicegate.storage.postgres import configured
from tests.support.fakes import FakeTracer, services
from tests.support.waiting import until

ANN = principal("ann", ["employee"])


class When:
    """A condition in Python, in the place of a compiled CEL one."""

    def __init__(self, fields: dict[str, Callable[[State], Any]], test: Callable[[State], bool]) -> None:
        self._fields, self._test = fields, test

    def evaluate(self, state: State) -> bool:
        return self._test(state)

    def values(self, state: State) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, read in self._fields.items():
            try:
                values[name] = read(state)
            except KeyError:  # not written yet
                values[name] = None
        return values

    def known(self, facts: Mapping[str, object]) -> bool | None:
        del facts
        return None


CONDITIONS = {
    "denied": When({"policy.verdict": lambda s: s["policy"]["verdict"]}, lambda s: s["policy"]["verdict"] == "deny"),
    "tool": When({"intent.task": lambda s: s["intent"]["task"]}, lambda s: s["intent"]["task"] == "tool"),
    "hit": When({"cache.hit": lambda s: s["cache"]["hit"]}, lambda s: s["cache"]["hit"]),
    "unsure": When(
        {
            "intent.confidence": lambda s: s["intent"]["confidence"],
            "router.threshold": lambda s: s["route"]["threshold"],
        },
        lambda s: s["intent"]["confidence"] < s["route"]["threshold"],
    ),
    "failed": When({"checks.failed": lambda s: s["checks"]["failed"]}, lambda s: s["checks"]["failed"]),
    "risky": When({"intent.risk": lambda s: s["intent"]["risk"]}, lambda s: s["intent"]["risk"] == "high"),
    "approved": When(
        {"approval.verdict": lambda s: s["approval"]["verdict"]},
        lambda s: s["approval"]["verdict"] in {"approve", "edit"},
    ),
}  # fmt: skip


def node(name: str, kind: str, *edges: tuple[str | None, str], max_visits: int | None = None) -> FlowNode:
    return FlowNode(name, kind, edges=tuple(Edge(to, when) for when, to in edges), max_visits=max_visits)


NODES = [
    node("classify", "classify", (None, "gate")),
    node("gate", "policy-check", ("denied", "refuse"), ("tool", "act"), (None, "recall")),
    node("recall", "cache-lookup", ("hit", "respond"), (None, "facts")),
    node("facts", "retrieve", ("unsure", "synthesize"), (None, "answer")),
    node("answer", "slm-answer", (None, "check")),
    node("synthesize", "llm-synthesize", (None, "check"), max_visits=2),
    node(
        "check", "output-check",
        ("failed", "synthesize"), ("failed", "approve"), ("risky", "approve"), (None, "respond"),
    ),
    node("act", "call-tool", (None, "approve")),
    node("approve", "human-interrupt", ("approved", "respond"), (None, "refuse")),
    node("respond", "respond"),
    node("refuse", "refuse"),
]  # fmt: skip

FLOW = Flow("classify", {n.name: n for n in NODES})

SETTINGS = {
    "classify": NoSettings(),
    "gate": PolicyCheck(guards=["injection"]),
    "recall": NoSettings(),
    "facts": Retrieve(index="kb"),
    "answer": SlmAnswer(prompt="answer"),
    "synthesize": LlmSynthesize(prompt="synthesize"),
    "check": OutputCheck(guards=["pii", "grounded"]),
    "act": CallTool(say="Opened {{result.id}}."),
    "approve": HumanInterrupt(approvers="role:helpdesk-lead", timeout=3600.0),
    "respond": NoSettings(),
    "refuse": Refuse(),
}


def runner(home: Path, given: Services | None = None, digest: str = "digest-1", **options: Any) -> Runner:
    given = given or services()
    home.mkdir(parents=True, exist_ok=True)
    where = configured() or home
    graph = build(FLOW, CONDITIONS, SETTINGS, checkpointer=open_checkpoints(where))
    return Runner(graph, given, tracer=given.tracer, approvals=Approvals(where), **options)  # type: ignore[arg-type]


def killed_in(home: str, node_name: str) -> None:
    """Run a request, for a process of its own: the process is killed when it comes to that node."""

    class Deadly(FakeTracer):
        def node(self, name: str, *rest: Any, **more: Any) -> Any:
            if name == node_name:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().node(name, *rest, **more)

    asyncio.run(runner(Path(home), services(tracer=Deadly())).run("How?", ANN, run="killed"))


def resumed(home: str, run: str) -> None:
    """Go on with a run, for a process of its own; prints the code of what refuses it."""
    try:
        asyncio.run(runner(Path(home)).resume(run))
    except RunError as error:
        print(error.code)


def released(*runs: str) -> None:
    """Wait until a server has noticed that who worked on these runs is gone; a home knows at once."""
    if server := configured():
        until(lambda: not any(server.held(run) for run in runs))


def way(state: State) -> list[str]:
    return [entry["node"] for entry in state["trail"]]
