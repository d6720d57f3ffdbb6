"""Building and running a flow on fakes: order of nodes, trail, limits of visits, waiting, deciding, taking up."""

import asyncio
import os
import signal
from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import RunError
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.runtime.waiting.approvals import Approvals
from sluicegate.storage.postgres import configured
from tests.support.fakes import Clock, FakeGuards, FakePolicy, FakeRouter, FakeTools, FakeTracer, services
from tests.support.flows import ANN, killed_in, released, resumed, runner, way
from tests.support.processes import Started

LEAD = principal("lea", ["helpdesk-lead"])


pytestmark = pytest.mark.usefixtures("each_place")

ANSWERED = ["classify", "gate", "recall", "facts", "answer", "check", "respond"]
RISKY = {"router": FakeRouter("access")}
SHAPES: list[tuple[str, dict[str, Any], list[str], str]] = [
    ("small model answers", {}, ANSWERED, "rag-slm"),
    (
        "unsure asks the large one",
        {"router": FakeRouter(confidence=0.5)},
        ["classify", "gate", "recall", "facts", "synthesize", "check", "respond"],
        "rag-llm",
    ),
    ("policy denies", {"policy": FakePolicy({"ask"})}, ["classify", "gate", "refuse"], "refused"),
    ("guard denies", {"guards": FakeGuards({"injection": "refuse"})}, ["classify", "gate", "refuse"], "refused"),
    (
        "one failed check, one second try",
        {"guards": FakeGuards({"grounded": "regenerate"}, {"grounded"})},
        ["classify", "gate", "recall", "facts", "answer", "check", "synthesize", "check", "respond"],
        "rag-llm",
    ),
    (
        "visits used up leave the next branch",
        {"guards": FakeGuards({"grounded": "regenerate"})},
        ["classify", "gate", "recall", "facts", "answer", "check", "synthesize", "check", "synthesize", "check"],
        "human",
    ),
    ("a risky class waits", RISKY, ["classify", "gate", "act"], "human"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "replaced", "order", "path"), SHAPES, ids=[shape[0] for shape in SHAPES])
async def test_order_of_execution(
    own_home: Path, name: str, replaced: dict[str, Any], order: list[str], path: str
) -> None:
    outcome = await runner(own_home, services(**deepcopy(replaced))).run("How do I reset it?", ANN)
    assert way(outcome.state) == order
    assert outcome.path == path


async def test_trail_says_condition_values_and_branch(own_home: Path) -> None:
    outcome = await runner(own_home, services(router=FakeRouter(confidence=0.5))).run("How?", ANN)
    facts = next(entry for entry in outcome.state["trail"] if entry["node"] == "facts")
    assert facts["branch"] == {
        "to": "synthesize",
        "condition": "unsure",
        "values": {"intent.confidence": 0.5, "router.threshold": 0.7},
        "skipped": [],
        "reason": "unsure held",
    }
    check = next(entry for entry in outcome.state["trail"] if entry["node"] == "check")
    assert check["branch"]["condition"] == "otherwise"
    assert check["branch"]["skipped"] == ["synthesize", "approve", "approve"]


async def test_second_identical_request_comes_from_the_cache(own_home: Path) -> None:
    made = runner(own_home)
    first = await made.run("How do I reset it?", ANN)
    second = await made.run("how do i reset it", ANN)
    assert (first.path, second.path) == ("rag-slm", "cache")
    assert second.text == first.text
    other = await made.run("how do i reset it", principal("bob", ["contractor"]))
    assert other.path == "rag-slm"


async def test_second_draft_is_told_why_the_first_failed(own_home: Path) -> None:
    given = services(guards=FakeGuards({"grounded": "regenerate"}, {"grounded"}))
    await runner(own_home, given).run("How?", ANN)
    asked = given.models.asked  # type: ignore[attr-defined]
    assert [role for role, _ in asked] == ["slm", "llm"]
    assert "grounded says no" in asked[1][1][0].content


@pytest.mark.parametrize(
    ("verdict", "text", "status", "shown"),
    [
        ("approve", "", "answered", "Opened T-1."),
        ("edit", "Mended.", "answered", "Mended."),
        ("reject", "", "refused", "This request cannot be answered here. Because."),
    ],
)
async def test_decision_in_another_runner(own_home: Path, verdict: str, text: str, status: str, shown: str) -> None:
    waiting = (await runner(own_home, services(**RISKY)).run("Give me access", ANN)).waiting
    assert waiting is not None
    assert waiting["draft"] == "Opened T-1."
    assert waiting["reason"] == "access is a high-risk class; asked whenever a run leaves act"
    later = runner(own_home, services(**RISKY))
    outcome = await later.decide(waiting["run"], verdict, LEAD, reason="because", text=text)
    assert (outcome.status, outcome.text) == (status, shown)
    assert outcome.state["approval"]["by"] == "lea"
    assert outcome.state["approval"]["draft"] == "Opened T-1."


@pytest.mark.parametrize("verdict", ["approved", "", "APPROVE", "allow", "rejct", "timeout "])
async def test_only_the_four_verdicts_decide(own_home: Path, verdict: str) -> None:
    """A condition that lists the verdicts against an answer would let any other word through."""
    made = runner(own_home, services(**RISKY))
    run = (await made.run("Give me access", ANN)).run
    with pytest.raises(RunError, match="is no verdict") as caught:
        await made.decide(run, verdict, LEAD)
    assert caught.value.code == "SG626"
    assert made.waiting(run)
    assert (await made.decide(run, "reject", LEAD)).status == "refused"


async def test_deciding_twice_is_refused(own_home: Path) -> None:
    made = runner(own_home, services(**RISKY))
    run = (await made.run("Give me access", ANN)).run
    await made.decide(run, "approve", LEAD)
    with pytest.raises(RunError, match="not waiting") as raised:
        await made.decide(run, "reject", LEAD)
    assert raised.value.code == "SG605"


async def test_a_claim_stands_against_a_second_process(own_home: Path) -> None:
    made = runner(own_home, services(**RISKY))
    waiting = (await made.run("Give me access", ANN)).waiting
    assert waiting is not None
    given: Any = {"verdict": "reject", "principal": LEAD, "reason": "no", "text": "", "asked_at": waiting["asked_at"]}
    Approvals(configured() or own_home).claim(waiting, given)
    with pytest.raises(RunError, match="decided already: reject by lea"):
        await made.decide(waiting["run"], "approve", LEAD)
    taken_up = await made.resume(waiting["run"])
    assert taken_up.status == "refused"


@pytest.mark.parametrize(
    ("person", "denied", "why"),
    [
        (principal("ann", ["helpdesk-lead"]), set[str](), "asked this and may not decide"),
        (principal("eve", ["employee"]), set[str](), "not one of role:helpdesk-lead"),
        (LEAD, {"approve"}, "policy does not let lea decide"),
    ],
)
async def test_who_may_not_decide(own_home: Path, person: Any, denied: set[str], why: str) -> None:
    made = runner(own_home, services(**RISKY, policy=FakePolicy(denied)))
    run = (await made.run("Give me access", ANN)).run
    with pytest.raises(RunError, match=why) as raised:
        await made.decide(run, "approve", person)
    assert raised.value.code == "SG610"
    # the refused try does not stand in the way of one who may
    allowed = runner(own_home, services(**RISKY))
    assert (await allowed.decide(run, "approve", LEAD)).status == "answered"


async def test_silence_refuses(own_home: Path) -> None:
    clock = Clock()
    made = runner(own_home, services(**RISKY, now=clock))
    run = (await made.run("Give me access", ANN)).run
    with pytest.raises(RunError, match="has not passed its deadline"):
        await made.expire(run)
    clock.at += timedelta(hours=2)
    with pytest.raises(RunError, match="refused at its deadline"):
        await made.decide(run, "approve", LEAD)
    outcome = await made.resume(run)
    assert (outcome.status, outcome.text) == (
        "refused",
        "This request cannot be answered here. Nobody decided in time.",
    )


async def test_changed_workflow_is_refused_and_can_be_migrated(own_home: Path) -> None:
    run = (await runner(own_home, services(**RISKY)).run("Give me access", ANN)).run
    given = services(**RISKY)
    object.__setattr__(given.workflow, "digest", "digest-2")
    try:
        with pytest.raises(RunError, match="has changed since") as raised:
            await runner(own_home, given).decide(run, "approve", LEAD)
        assert raised.value.code == "SG604"
        outcome = await runner(own_home, given, migrates="digest-1").decide(run, "approve", LEAD)
        assert outcome.status == "answered"
    finally:
        object.__setattr__(given.workflow, "digest", "digest-1")


async def test_unknown_run(own_home: Path) -> None:
    with pytest.raises(RunError, match="no run") as raised:
        await runner(own_home).resume("nope")
    assert raised.value.code == "SG603"


async def test_a_failing_node_is_named(own_home: Path) -> None:
    class Broken(FakeTools):
        async def call(self, *_: Any, **__: Any) -> Any:
            raise KeyError("boom")

    with pytest.raises(RunError, match=r"act \(call-tool\) failed: KeyError") as raised:
        await runner(own_home, services(**RISKY, tools=Broken())).run("Give me access", ANN)
    assert raised.value.code == "SG611"


@pytest.mark.slow
async def test_many_runs_at_once_do_not_mix(own_home: Path) -> None:
    made = runner(own_home)
    outcomes = await asyncio.gather(*(made.run(f"Question {n}", ANN, run=f"run-{n}") for n in range(20)))
    assert [outcome.state["request"]["text"] for outcome in outcomes] == [f"Question {n}" for n in range(20)]
    assert all(way(outcome.state) == ANSWERED for outcome in outcomes)


KILLED_AT = ["classify", "facts", "answer", "check"]


@pytest.mark.slow
@pytest.mark.parametrize("node_name", KILLED_AT)
async def test_kill_9_inside_a_node_loses_nothing(own_home: Path, node_name: str) -> None:
    status, _, errors = Started(own_home.with_name("said"), os.environ, killed_in, str(own_home), node_name).ended()
    assert status == -signal.SIGKILL, errors
    released("killed")
    given = services()
    outcome = await runner(own_home, given).resume("killed")
    assert way(outcome.state) == ANSWERED
    assert outcome.status == "answered"
    before = ANSWERED[: ANSWERED.index(node_name)]
    assert not set(before) & set(given.tracer.seen)  # type: ignore[attr-defined]


@pytest.mark.slow
async def test_a_run_is_worked_on_by_one_at_a_time(own_home: Path) -> None:
    class Waits(FakeTracer):
        def node(self, name: str, *rest: Any, **more: Any) -> Any:
            if name == "facts":
                _, out, errors = Started(own_home.with_name("said"), os.environ, resumed, str(own_home), "one").ended()
                assert out.strip() == "SG608", errors
            return super().node(name, *rest, **more)

    made = runner(own_home, services(tracer=Waits()))
    assert (await made.run("How?", ANN, run="one")).status == "answered"
    assert (await made.resume("one")).status == "answered"


async def test_a_run_that_another_ends_meanwhile_is_shown_as_it_ended(own_home: Path, monkeypatch: Any) -> None:
    """Read before the other came to its end, its state would be that of a run in progress."""
    one, other = runner(own_home), runner(own_home)
    state = one.opening("How?", ANN)
    one.begin(state)
    run, clean = state["run"]["id"], other._clean

    async def slowly(run: str) -> None:
        await clean(run)
        await one.resume(run)

    monkeypatch.setattr(other, "_clean", slowly)
    outcome = await other.resume(run)
    assert (outcome.status, outcome.text) == ("answered", (await one.resume(run)).text)
    assert outcome.text


async def test_of_two_approvers_at_once_one_wins(own_home: Path) -> None:
    run = (await runner(own_home, services(**RISKY)).run("Give me access", ANN)).run
    other = principal("max", ["helpdesk-lead"])
    decided = await asyncio.gather(
        runner(own_home, services(**RISKY)).decide(run, "approve", LEAD),
        runner(own_home, services(**RISKY)).decide(run, "reject", other, reason="no"),
        return_exceptions=True,
    )
    refused = [one for one in decided if isinstance(one, RunError)]
    assert len(refused) == 1
    assert refused[0].code in {"SG605", "SG608"}
