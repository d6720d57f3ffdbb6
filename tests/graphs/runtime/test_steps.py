"""How many steps a run may take follows from its flow, however it is started."""

from collections.abc import Mapping
from typing import Any

import pytest

from sluicegate.errors import RunError
from sluicegate.graphs.proofs.flow import Edge, Flow, FlowNode
from sluicegate.graphs.proofs.shape import most_steps
from sluicegate.graphs.runtime.build import Intake, build
from sluicegate.graphs.runtime.checkpoints import open_checkpoints
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.runtime.run import Runner
from sluicegate.graphs.runtime.waiting.approvals import Approvals
from sluicegate.nodes._settings import NoSettings
from sluicegate.nodes.kinds.answering import SlmAnswer
from sluicegate.nodes.kinds.output_check import OutputCheck
from sluicegate.nodes.kinds.terminal import Refuse
from sluicegate.serving.langgraph_app import RequestForm
from tests.support.fakes import FakeGuards, services
from tests.support.flows import CONDITIONS, way
from tests.support.proof_flows import flow, node

ANN = principal("ann", ["employee"])
AGAIN = Flow(
    "c",
    {
        "c": FlowNode("c", "classify", edges=(Edge("a"),)),
        "a": FlowNode("a", "slm-answer", edges=(Edge("k"),), max_visits=100),
        "k": FlowNode("k", "output-check", edges=(Edge("a", "failed"), Edge("no", "failed"), Edge("ok"))),
        "ok": FlowNode("ok", "respond"),
        "no": FlowNode("no", "refuse"),
    },
)
SETTINGS: Mapping[str, Any] = {
    "c": NoSettings(),
    "a": SlmAnswer(prompt="answer"),
    "k": OutputCheck(guards=["grounded"]),
    "ok": NoSettings(),
    "no": Refuse(),
}


def runner(home: Any) -> Runner:
    given = services(guards=FakeGuards({"grounded": "regenerate"}))
    home.mkdir(parents=True, exist_ok=True)
    graph = build(AGAIN, CONDITIONS, SETTINGS, checkpointer=open_checkpoints(home))
    return Runner(graph, given, tracer=given.tracer, approvals=Approvals(home))  # type: ignore[arg-type]


@pytest.mark.slow
async def test_a_run_may_use_up_all_its_visits(own_home: Any) -> None:
    outcome = await runner(own_home).run("How?", ANN)
    assert outcome.status == "refused"
    assert way(outcome.state) == ["c", *(["a", "k"] * 100), "no"]


def test_the_bound_is_exact_on_a_chain_and_counts_every_visit_of_a_loop() -> None:
    assert most_steps(flow(node("a", "x", "b"), node("b", "x", "c"), node("c", "respond"))) == 3
    # c, a and k again a hundred times, an end
    assert most_steps(AGAIN) >= 202
    assert most_steps(AGAIN) <= 100 + 101 * 2
    chain = flow(*(node(f"n{n}", "x", f"n{n + 1}") for n in range(5000)), node("n5000", "respond"))
    assert most_steps(chain) == 5001


def test_every_graph_brings_its_bound() -> None:
    """Whoever invokes a graph, with whatever config: a session, a service, a replay, an evaluation, LangGraph's own."""
    assert (build(AGAIN, CONDITIONS, SETTINGS).config or {})["recursion_limit"] == most_steps(AGAIN) + 1
    begin = Intake("intake", RequestForm, RequestForm, lambda asked: asked)
    graph = build(AGAIN, CONDITIONS, SETTINGS, services=services(), intake=begin)
    assert (graph.config or {})["recursion_limit"] == most_steps(AGAIN) + 2


async def test_a_run_that_takes_more_is_a_failed_run(own_home: Any) -> None:
    made = runner(own_home)
    made.graph = made.graph.with_config(recursion_limit=7)
    with pytest.raises(RunError, match="more steps than its workflow allows") as caught:
        await made.run("How?", ANN, run="r-1")
    assert caught.value.code == "SG629"
    assert made.unfinished("r-1")
