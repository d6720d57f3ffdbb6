"""A run that asks its requester and then waits for a time, in processes that are killed at a named point.

``python -m tests.faults.asker FOLDER POINT …`` as `tests.faults.desk`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sluicegate.graphs.conversations.config import ConversationConfig
from sluicegate.graphs.conversations.turns import Conversations
from sluicegate.graphs.proofs.flow import Edge, Flow
from sluicegate.graphs.runtime.build import build
from sluicegate.graphs.runtime.checkpoints import open_checkpoints
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.runtime.run import Runner
from sluicegate.graphs.runtime.waiting.approvals import Approvals
from sluicegate.nodes.kinds.control.ask import Ask
from sluicegate.nodes.kinds.control.wait import Wait
from sluicegate.services import Classification
from sluicegate.storage.database import open_database
from sluicegate.storage.postgres import configured
from sluicegate.storage.schemas import APPROVALS, CONVERSATIONS
from tests.faults.desk import main
from tests.support.fakes import FakeRouter, services
from tests.support.flows import CONDITIONS, SETTINGS, When, node

ANN = principal("ann", ["employee"])
RUN, VAGUE, ANSWER = "asked", "It does not start", "the laptop"


@dataclass
class ByDevice(FakeRouter):
    async def classify(self, text: str) -> Classification:
        self.label = "question" if ANSWER in text else "access"
        return await super().classify(text)


@dataclass
class Clock:
    ahead: timedelta = field(default_factory=timedelta)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def runner(home: Path, now: Callable[[], datetime]) -> Runner:
    home.mkdir(parents=True, exist_ok=True)
    where = configured() or home
    given = services(router=ByDevice(), now=now)
    nodes = [
        node("classify", "classify", ("vague", "ask"), (None, "gate")),
        replace(node("ask", "ask", (None, "classify"), max_visits=2), on_error=Edge("refuse")),
        node("gate", "policy-check", (None, "later")),
        node("later", "wait", (None, "answer")),
        node("answer", "slm-answer", (None, "check")),
        node("check", "output-check", (None, "respond")),
        node("respond", "respond"),
        node("refuse", "refuse"),
    ]
    vague = When({"intent.label": lambda s: s["intent"]["label"]}, lambda s: s["intent"]["label"] == "access")
    own = {"ask": Ask(say="Which device is it?", on_timeout="refuse"), "later": Wait(**{"for": 600.0})}
    flow = Flow("classify", {one.name: one for one in nodes})
    graph = build(
        flow,
        {**CONDITIONS, "vague": vague},
        {name: each for name, each in {**SETTINGS, **own}.items() if name in flow.nodes},
        checkpointer=open_checkpoints(where),
    )
    talks = Conversations(where, "test", ConversationConfig(), now=now)
    return Runner(graph, given, tracer=given.tracer, approvals=Approvals(where), conversations=talks)  # type: ignore[arg-type]


async def drive(home: Path) -> dict[str, Any]:
    """Start the run, or take it up; answer what it asks as the next turn does; let its time come."""
    clock = Clock()
    made = runner(home, clock)
    outcome = await made.run(VAGUE, ANN, run=RUN, session="c")
    if made.asks(RUN):
        outcome = await made.run(ANSWER, ANN, session="c")
    if outcome.waiting:
        clock.ahead = timedelta(hours=1)
        outcome = await made.expire(RUN)
    state = outcome.state
    return {
        "run": outcome.run,
        "status": outcome.status,
        "way": [step["node"] for step in state["trail"]],
        "request": state["request"]["text"],
        "replies": [reply["text"] for reply in state["replies"] or []],  # type: ignore[typeddict-item]
    }


def left_behind(home: Path) -> dict[str, Any]:
    with open_database(configured() or home, APPROVALS).reading() as execute:
        decisions = execute("SELECT node, applied, verdict FROM decisions ORDER BY node")
    with open_database(configured() or home, CONVERSATIONS).reading() as execute:
        turns = execute("SELECT run, open FROM turns")
    return {
        "decisions": [[row["node"], row["applied"], ANSWER in row["verdict"]] for row in decisions],
        "turns": [[row["run"], row["open"]] for row in turns],
        "waiting": [*open_checkpoints(configured() or home).interrupts.threads()],
    }


if __name__ == "__main__":
    main(drive, left_behind, [RUN])
