"""What happens when a node fails: time limits, repetitions, error branches."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import ModelError, RunError, StoppedError, UnreachableError
from sluicegate.graphs.proofs import Semantics
from sluicegate.graphs.proofs.flow import Edge, Flow, FlowNode
from sluicegate.graphs.proofs.totality import prove_totality
from sluicegate.graphs.runtime.build import build
from sluicegate.graphs.runtime.checkpoints import open_checkpoints
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.graphs.runtime.run import Runner
from sluicegate.graphs.runtime.waiting.approvals import Approvals
from sluicegate.nodes import attempts
from sluicegate.nodes._settings import NoSettings
from sluicegate.nodes.attempts import AttemptLimits, Retry
from sluicegate.nodes.kind import NodeKind
from sluicegate.nodes.kinds.call_tool import CallTool
from sluicegate.nodes.kinds.terminal import Refuse
from sluicegate.nodes.tools.tool import ToolContext, tool
from sluicegate.nodes.tools.tool_runner import ToolRunner
from sluicegate.services import ModelRequest, Services
from tests.support.fakes import FakeModels, services
from tests.support.flows import ANN, way
from tests.support.plugged import kind, plugged
from tests.support.proof_flows import LISTED, flow, known, node

UNREACHABLE = UnreachableError("no server answers")
SLOW = ModelError("SG303", "no answer within 60 s")


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, which take no time."""
    taken, sleep = list[float](), asyncio.sleep

    async def pause(seconds: float) -> None:
        taken.append(seconds)
        await sleep(0)

    monkeypatch.setattr(attempts, "pause", pause)
    return taken


@dataclass
class Step:
    """A node that fails in these ways, one after another, and then works; `asks` a model each time."""

    fails: list[BaseException | float]
    asks: bool = False
    seen: int = field(default=0, init=False)

    async def __call__(self, state: Any, given: Services) -> dict[str, Any]:
        self.seen += 1
        if self.asks:
            await given.models.chat(ModelRequest("llm", [], max_tokens=5, size="llm"))
        for failure in [self.fails.pop(0)] if self.fails else []:
            if isinstance(failure, BaseException):
                raise failure
            await asyncio.Event().wait()
        return {"extra": {"urgent": True}}


def kinds_of(step: Step) -> NodeKind:
    return replace(kind("weigh", {"extra"}, {"tags"}, extra={"urgent": bool}), make=lambda name, settings: step)


def graph_of(step: Step, home: Path, limits: AttemptLimits, *, on_error: bool, given: Services | None = None) -> Runner:
    weigh = FlowNode("weigh", "weigh", edges=(Edge("ok"),), on_error=Edge("sorry") if on_error else None, limits=limits)
    ends = {"ok": FlowNode("ok", "respond"), "sorry": FlowNode("sorry", "refuse")}
    return runner(Flow("weigh", {"weigh": weigh, **ends}), {"weigh": NoSettings()}, home, given)


def runner(of: Flow, settings: Mapping[str, Any], home: Path, given: Services | None = None) -> Runner:
    home.mkdir(parents=True, exist_ok=True)
    given = given or services()
    settings = {**settings, "ok": NoSettings(), "sorry": Refuse()}
    graph = build(of, {}, settings, checkpointer=open_checkpoints(home))
    return Runner(graph, given, tracer=given.tracer, approvals=Approvals(home))  # type: ignore[arg-type]


async def run(step: Step, home: Path, limits: AttemptLimits, *, on_error: bool = True, **given: Any) -> Outcome:
    with plugged(kinds_of(step)):
        return await graph_of(step, home, limits, on_error=on_error, given=services(**given)).run("How?", ANN, run="r")


@pytest.mark.parametrize(
    ("error", "cause", "code"),
    [
        (SLOW, "timeout", "SG303"),
        (TimeoutError("too late"), "timeout", "SG611"),
        (UNREACHABLE, "unavailable", "SG301"),
        (ModelError("SG304", "out of memory"), "unavailable", "SG304"),
        (ModelError("SG309", "every model failed"), "unavailable", "SG309"),
        (ConnectionResetError("reset"), "unavailable", "SG611"),
        (StoppedError("SG501", "per_day_usd is reached"), "stopped", "SG501"),
        (ModelError("SG305", "not JSON"), "error", "SG305"),
        (KeyError("id"), "error", "SG611"),
    ],
    ids=lambda each: each.__class__.__name__ if isinstance(each, Exception) else str(each),
)
async def test_a_failed_node_takes_its_error_branch(error: Exception, cause: str, code: str, own_home: Path) -> None:
    outcome = await run(Step([error]), own_home, AttemptLimits())
    state, entry = outcome.state, outcome.state["trail"][0]
    assert way(state) == ["weigh", "sorry"]
    assert (state["failure"]["node"], state["failure"]["cause"], state["failure"]["code"]) == ("weigh", cause, code)
    assert "extra" not in state
    assert (entry["branch"]["condition"], entry["branch"]["to"]) == ("on_error", "sorry")
    assert entry["branch"]["values"] == {"failure.cause": cause, "failure.code": code}
    assert "attempts" not in entry


async def test_without_an_error_branch_the_run_fails(own_home: Path) -> None:
    with pytest.raises(UnreachableError):
        await run(Step([UNREACHABLE]), own_home, AttemptLimits(), on_error=False)


async def test_a_failure_that_may_pass_is_tried_again(own_home: Path, pauses: list[float]) -> None:
    step = Step([UNREACHABLE, SLOW, UNREACHABLE])
    outcome = await run(step, own_home, AttemptLimits(retry=Retry(times=3, backoff=2.0)))
    assert way(outcome.state) == ["weigh", "ok"]
    assert outcome.state["trail"][0].get("attempts") == step.seen == 4
    assert outcome.state["run"]["visits"]["weigh"] == 1
    assert pauses == [2.0, 4.0, 8.0]
    assert "failure" not in outcome.state


async def test_pauses_are_at_most_a_minute(own_home: Path, pauses: list[float]) -> None:
    await run(Step([UNREACHABLE] * 10), own_home, AttemptLimits(retry=Retry(times=10, backoff=20.0)))
    assert pauses == [20.0, 40.0] + [60.0] * 8


async def test_attempts_end(own_home: Path) -> None:
    step = Step([UNREACHABLE] * 9)
    outcome = await run(step, own_home, AttemptLimits(retry=Retry(times=2)))
    assert way(outcome.state) == ["weigh", "sorry"]
    assert outcome.state["trail"][0].get("attempts") == step.seen == 3


@pytest.mark.parametrize("error", [KeyError("id"), StoppedError("SG502", "switched off")], ids=["bug", "switched off"])
async def test_other_failures_are_not_tried_again(error: Exception, own_home: Path) -> None:
    step = Step([error])
    await run(step, own_home, AttemptLimits(retry=Retry(times=3)))
    assert step.seen == 1


async def test_any_error_may_be_tried_again_but_what_was_not_allowed(own_home: Path) -> None:
    step = Step([KeyError("id"), KeyError("id")])
    outcome = await run(step, own_home, AttemptLimits(retry=Retry(times=3, causes=("error",))))
    assert (way(outcome.state), step.seen) == (["weigh", "ok"], 3)


async def test_an_attempt_has_a_time_limit(own_home: Path) -> None:
    step = Step([1.0, 1.0])
    outcome = await run(step, own_home, AttemptLimits(timeout=0.01, retry=Retry(times=1)))
    assert step.seen == 2
    assert outcome.state["failure"] == {
        "node": "weigh", "cause": "timeout", "code": "SG611", "reason": "weigh has no result within 0.01 s",
    }  # fmt: skip


@pytest.mark.parametrize("code", ["SG607", "SG608", "SG628"])
async def test_an_error_that_no_other_node_can_help_with_fails_the_run(code: str, own_home: Path) -> None:
    step = Step([RunError(code, "no")])
    with pytest.raises(RunError) as caught:
        await run(step, own_home, AttemptLimits(retry=Retry(times=3, causes=("timeout", "unavailable", "error"))))
    assert (caught.value.code, step.seen) == (code, 1)


async def test_what_failed_attempts_cost_is_in_the_runs_spending(own_home: Path) -> None:
    paid = Step([UNREACHABLE, UNREACHABLE], asks=True)
    outcome = await run(paid, own_home, AttemptLimits(retry=Retry(times=2)), models=FakeModels(usd=0.01))
    assert outcome.state["spend"]["llm_calls"] == paid.seen == 3
    assert outcome.state["spend"]["usd"] == pytest.approx(0.03)
    failing = Step([UNREACHABLE], asks=True)
    outcome = await run(failing, own_home / "other", AttemptLimits(), models=FakeModels(usd=0.01))
    assert (way(outcome.state), outcome.state["spend"]["usd"]) == (["weigh", "sorry"], pytest.approx(0.01))


async def test_a_visit_that_was_broken_off_begins_again(own_home: Path) -> None:
    """Nothing of its attempts was written yet."""
    step = Step([UNREACHABLE, RunError("SG607", "the disk is full")])
    with pytest.raises(RunError):
        await run(step, own_home, AttemptLimits(retry=Retry(times=3)))
    with plugged(kinds_of(step)):
        again = graph_of(step, own_home, AttemptLimits(retry=Retry(times=3)), on_error=True)
        outcome = await again.run("How?", ANN, run="r")
    assert (way(outcome.state), step.seen) == (["weigh", "ok"], 3)
    assert "attempts" not in outcome.state["trail"][0]


def tool_flow(home: Path, made: ToolRunner, limits: AttemptLimits) -> Runner:
    act = FlowNode("act", "call-tool", edges=(Edge("ok"),), on_error=Edge("sorry"), limits=limits)
    of = Flow("act", {"act": act, "ok": FlowNode("ok", "respond"), "sorry": FlowNode("sorry", "refuse")})
    return runner(of, {"act": CallTool(tool="order")}, home, services(tools=made))


async def test_a_tool_is_called_again_under_the_same_key(own_home: Path) -> None:
    keys: list[str] = []

    @tool("order")
    def order(context: ToolContext) -> dict[str, int]:
        keys.append(context.key)
        if len(keys) < 3:
            raise ConnectionRefusedError("no shop answers")
        return {"id": 7}

    own_home.mkdir(parents=True, exist_ok=True)
    made = ToolRunner(own_home, allowed={"order": order})
    outcome = await tool_flow(own_home, made, AttemptLimits(retry=Retry(times=2))).run("One, please", ANN)
    calls = outcome.state["tool_calls"]
    assert [call["status"] for call in calls] == ["failed", "failed", "done"]
    assert [call.get("cause") for call in calls] == ["unavailable", "unavailable", None]
    assert len(set(keys)) == 1
    assert way(outcome.state) == ["act", "ok"]
    made.close()


async def test_a_tool_that_keeps_failing_takes_the_error_branch(own_home: Path) -> None:
    @tool("order")
    def order(context: ToolContext) -> dict[str, int]:
        raise ValueError("sold out")

    own_home.mkdir(parents=True, exist_ok=True)
    made = ToolRunner(own_home, allowed={"order": order})
    outcome = await tool_flow(own_home, made, AttemptLimits(retry=Retry(times=5))).run("One, please", ANN)
    assert way(outcome.state) == ["act", "sorry"]
    assert [call["status"] for call in outcome.state["tool_calls"]] == ["failed"]
    assert outcome.state["failure"]["code"] == "SG609"
    assert outcome.state["failure"]["reason"] == "order: ValueError: sold out"
    made.close()


def test_what_a_failed_node_would_have_written_may_be_missing() -> None:
    """Both branches of `later` need a verdict, and after the failure of the check there is none."""
    ends = (node("yes", "respond"), node("no", "refuse"))
    later = node("later", "x", ("checks.failed", "no"), ("!checks.failed", "yes"))
    check = node("check", "output-check", "later")
    for made, codes in ((check, []), (replace(check, on_error=Edge("later")), ["SG132"])):
        semantics = Semantics(flow(made, later, *ends), known, LISTED)
        assert [problem.code for problem in prove_totality(semantics) if problem.severity == "error"] == codes
