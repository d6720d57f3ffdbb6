"""Running a workflow within another one: one request, one trace, one account."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import ModelError, RunError
from sluicegate.graphs.config.load import load
from sluicegate.graphs.proofs.streaming import streaming
from sluicegate.graphs.runtime.factory import Opened
from sluicegate.graphs.runtime.steps.streaming import sending
from sluicegate.graphs.runtime.versions import kept
from sluicegate.graphs.session.checkpoint_reader import all_waiting, full_id, recorded
from sluicegate.home import home
from sluicegate.observe.audit.verify import verify
from sluicegate.observe.tracing.store import Store
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.policies.ledger.ledger import SqliteLedger
from sluicegate.services import Completion, ModelRequest
from sluicegate.state import State
from sluicegate.storage.run_ids import root_run
from tests.support.fakes import FakeModels
from tests.support.family import ANN, CLERK, edit, family, kyc_of, opened, without_people


@pytest.fixture
def claims(tmp_path: Path) -> Path:
    return family(tmp_path)


@pytest.fixture
def quick(claims: Path) -> Path:
    """The same with nobody to ask."""
    return without_people(claims)


def way(state: State) -> list[str]:
    return [entry["node"] for entry in state["trail"]]


def run(made: Opened, text: str = "My roof leaks", **options: Any) -> Any:
    return asyncio.run(made.runner.run(text, ANN, **options))


def child_of(state: State) -> State:
    return recorded(state["child"]["run"])


def test_a_child_answers_for_its_parent(quick: Path) -> None:
    models = FakeModels(usd=0.001)
    outcome = run(opened(quick, models))
    assert (outcome.status, outcome.text) == ("answered", "Small answer [1].")
    assert way(outcome.state) == ["gate", "kyc", "respond"]
    assert [message.content for message in models.asked[0][1]] == ["Identify: My roof leaks"]
    child = child_of(outcome.state)
    assert way(child) == ["gate", "draft", "check", "respond"]
    assert child["run"]["parent"] == outcome.run
    assert child["principal"] == ANN
    assert child["request"]["text"] == "Identify: My roof leaks"
    assert root_run(child["run"]["id"]) == outcome.run
    assert outcome.state["child"] == {"workflow": "kyc", "run": child["run"]["id"], "status": "answered"}
    # what comes back is what the node writes
    assert outcome.state["answer"]["by"] == "kyc"
    assert outcome.state["checks"] == child["checks"]


@pytest.mark.slow
def test_nobody_makes_a_run_a_part_of_another_by_its_name(quick: Path) -> None:
    made = opened(quick, FakeModels())
    outcome = run(made)
    with pytest.raises(RunError, match="SG603"):
        run(made, run=f"{outcome.run}~000000000000")


def test_one_trace(quick: Path) -> None:
    made = opened(quick)
    outcome = run(made)
    made.tracer.flush()
    store = Store(home() / "store.sqlite")
    (row,) = store.query("SELECT run_id FROM runs")
    assert row["run_id"] == outcome.run
    spans = {span["span_id"]: span for span in store.spans(outcome.run)}
    (draft,) = [span for span in spans.values() if span["name"] == "kyc/draft"]
    above = list[str]()
    while parent := spans.get(draft["parent"]):
        above.append(parent["name"])
        draft = parent
    assert above == ["invoke_agent kyc", "kyc", "invoke_agent claims"]
    (agent,) = [span for span in spans.values() if span["name"] == "invoke_agent kyc"]
    assert agent["attributes"]["run"] == outcome.state["child"]["run"]
    assert agent["attributes"]["status"] == "answered"


@pytest.mark.slow
def test_what_a_child_spends_is_its_parents_too(quick: Path) -> None:
    outcome = run(opened(quick))
    assert outcome.state["spend"]["usd"] == pytest.approx(child_of(outcome.state)["spend"]["usd"])
    assert outcome.state["spend"]["slm_calls"] == 1
    budget = load(quick).config.budget.model_copy(update={"per_day_usd": 1.0})
    ledger = SqliteLedger(budget)
    assert ledger.caps("claims")[0].spent == pytest.approx(0.001)
    assert ledger.caps("kyc")[0].spent == pytest.approx(0.001)
    # and it is one call of one model all the same
    assert [(row["model"], row["calls"]) for row in ledger.spending(by="model")] == [("fake:slm", 1)]
    assert sum(row["usd"] for row in ledger.spending(by="workflow")) == pytest.approx(0.001)


def test_both_budgets_must_have_room(quick: Path) -> None:
    edit(quick, "start: gate", "budget: {per_day_tokens: 1}\nstart: gate")
    outcome = run(opened(quick))
    assert outcome.state["spend"]["stopped"]
    assert outcome.state["spend"]["stopped_by"].startswith("SG501 claims's per_day_tokens")


@pytest.mark.parametrize("switched", ["workflow:claims", "workflow:kyc"])
def test_the_kill_switch_of_either_stops_the_child(quick: Path, switched: str) -> None:
    made = opened(quick)
    outcome = run(made)
    assert outcome.status == "answered"
    KillSwitch().off(switched, reason="a test", by="ops")
    stopped = run(made)
    assert stopped.status == "refused"


def test_a_child_that_waits_makes_its_parent_wait(claims: Path) -> None:
    made = opened(claims)
    outcome = run(made)
    assert outcome.status == "waiting"
    waiting = outcome.waiting
    assert waiting is not None
    assert (waiting["run"], waiting["workflow"], waiting["node"]) == (outcome.run, "claims", "approve")
    assert (waiting["request"], waiting["draft"]) == ("Identify: My roof leaks", "Small answer [1].")
    (asked,) = waiting["asked_by"]
    assert (asked["node"], asked["workflow"]) == ("kyc", "kyc")
    # one question is asked, not two
    assert [each["id"] for each in all_waiting()] == [outcome.run]
    assert full_id(outcome.run[:-2]) == outcome.run
    decided = asyncio.run(made.runner.decide(outcome.run, "approve", CLERK))
    assert (decided.status, decided.text) == ("answered", "Small answer [1].")
    child = child_of(decided.state)
    assert child["run"]["id"] == asked["run"]
    assert child["approval"]["by"] == "cleo"
    assert way(child) == ["gate", "draft", "check", "approve", "respond"]
    assert decided.state["spend"]["slm_calls"] == 1
    assert all_waiting() == []
    assert verify(home() / "audit").findings == ()


@pytest.mark.slow
def test_another_process_decides(claims: Path) -> None:
    outcome = run(opened(claims))
    decided = asyncio.run(opened(claims).runner.decide(outcome.run, "edit", CLERK, text="It is Ann."))
    assert (decided.status, decided.text) == ("answered", "It is Ann.")


def test_what_a_person_rejects_in_a_child_refuses_its_parent(claims: Path) -> None:
    made = opened(claims)
    outcome = run(made)
    decided = asyncio.run(made.runner.decide(outcome.run, "reject", CLERK, reason="not Ann"))
    assert decided.status == "refused"
    assert decided.state["child"]["status"] == "refused"


def test_only_whom_the_child_asks_decides(claims: Path) -> None:
    made = opened(claims)
    outcome = run(made)
    for person in (ANN, {**CLERK, "roles": ["employee"]}):
        with pytest.raises(RunError) as caught:
            asyncio.run(made.runner.decide(outcome.run, "approve", person))  # type: ignore[arg-type]
        assert caught.value.code == "SG610"
    assert made.runner.waiting(outcome.run) is not None


@pytest.mark.slow
def test_a_second_question_of_a_child(claims: Path) -> None:
    edit(kyc_of(claims), "go: respond}, {otherwise: refuse}]\n  respond", "go: again}, {otherwise: refuse}]\n  respond")
    onward = "[{when: \"approval.verdict == 'approve'\", go: respond}, {otherwise: refuse}]"
    again = f"  again: {{kind: human-interrupt, approvers: 'role:clerk', timeout: 24h, then: {onward}}}\n"
    edit(kyc_of(claims), "  respond:", f"{again}  respond:")
    made = opened(claims)
    outcome = run(made)
    once = asyncio.run(made.runner.decide(outcome.run, "approve", CLERK))
    assert (once.status, once.waiting and once.waiting["node"]) == ("waiting", "again")
    with pytest.raises(RunError):
        asyncio.run(opened(claims).runner.decide(outcome.run, "approve", ANN))
    twice = asyncio.run(opened(claims).runner.decide(outcome.run, "reject", CLERK))
    assert twice.status == "refused"
    assert way(child_of(twice.state)) == ["gate", "draft", "check", "approve", "again", "refuse"]


@pytest.mark.slow
def test_a_child_that_changed_while_its_parent_waits(claims: Path) -> None:
    outcome = run(opened(claims))
    old = outcome.state["run"]["digest"]
    edit(kyc_of(claims), "guards: [length]", "guards: [length, secrets]")
    with pytest.raises(RunError) as caught:
        asyncio.run(opened(claims).runner.decide(outcome.run, "approve", CLERK))
    assert caught.value.code == "SG604"
    finished = asyncio.run(opened(kept(old)).runner.decide(outcome.run, "approve", CLERK))
    assert finished.status == "answered"


@pytest.mark.slow
def test_a_run_goes_on_with_a_changed_child_where_an_operator_says_so(claims: Path) -> None:
    outcome = run(opened(claims))
    edit(kyc_of(claims), "guards: [length]", "guards: [length, secrets]")
    migrated = opened(claims, migrates=outcome.state["run"]["digest"])
    assert asyncio.run(migrated.runner.decide(outcome.run, "approve", CLERK)).status == "answered"


def test_a_failed_child_follows_on_error_with_its_code(quick: Path) -> None:
    edit(quick, "take: [answer, checks]", "take: [answer, checks]\n    on_error: refuse")
    models = FakeModels(usd=0.001, fails=ModelError("SG303", "no answer within 60 s"))
    outcome = run(opened(quick, models))
    assert outcome.status == "refused"
    failure = outcome.state["failure"]
    assert (failure["node"], failure["code"], failure["cause"]) == ("kyc", "SG303", "timeout")
    assert "child" not in outcome.state


def test_a_failed_child_goes_on_where_it_stopped(quick: Path) -> None:
    models = FakeModels(fails=ModelError("SG303", "no answer within 60 s"))
    made = opened(quick, models)
    with pytest.raises(ModelError):
        run(made, run="once")
    models.fails = None
    outcome = asyncio.run(made.runner.resume("once"))
    assert outcome.status == "answered"
    assert [each["visit"] for each in child_of(outcome.state)["trail"]] == [1, 1, 1, 1]


def test_nothing_that_a_child_writes_is_sent_before_its_parent_has_it(quick: Path) -> None:
    said = list[str]()
    models = FakeModels(answers={"slm": "One sentence. Another one. And a third."})
    with sending(said.append):
        outcome = run(opened(quick, models))
    assert outcome.status == "answered"
    assert said == []


def test_what_may_stream_does_not_go_on_to_another_workflow(quick: Path) -> None:
    flow = load(quick).flow
    assert streaming(flow, "gate", lambda _: None).why_not == "kyc runs another workflow before it is sent"


def test_the_budget_of_either_stops_the_child(quick: Path) -> None:
    edit(kyc_of(quick), "start: gate", "budget: {per_day_tokens: 1}\nstart: gate")
    outcome = run(opened(quick))
    assert outcome.state["spend"]["stopped_by"].startswith("SG501 per_day_tokens")


@pytest.mark.slow
def test_a_child_that_is_stopped_gently_goes_on_where_it_was(quick: Path) -> None:
    class Held(FakeModels):
        async def chat(self, request: ModelRequest) -> Completion:
            reached.set()
            await asyncio.Event().wait()
            raise AssertionError("nobody lets it go")

    reached = asyncio.Event()

    async def stopped() -> None:
        work = asyncio.create_task(opened(quick, Held()).runner.run("My roof leaks", ANN, run="once"))
        await reached.wait()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(stopped())
    outcome = asyncio.run(opened(quick).runner.resume("once"))
    assert outcome.status == "answered"
    assert way(child_of(outcome.state)) == ["gate", "draft", "check", "respond"]
    assert SqliteLedger(load(quick).config.budget.model_copy(update={"per_day_usd": 1.0})).caps("claims")[0].held == 0


@pytest.mark.slow
def test_a_decision_in_a_child_is_on_record_for_both(claims: Path) -> None:
    made = opened(claims)
    outcome = run(made)
    asyncio.run(made.runner.decide(outcome.run, "approve", CLERK))
    events = [
        json.loads(line)
        for file in sorted((home() / "audit").glob("*.jsonl"))
        for line in file.read_text().splitlines()
    ]
    of_child = [event for event in events if "~" in (event.get("run") or "")]
    assert {event["workflow"] for event in of_child} == {"kyc"}
    assert {event["facts"]["parent"] for event in of_child} == {outcome.run}


@pytest.mark.slow
def test_a_childs_question_is_put_by_its_parent_and_adds_words_to_the_child_alone(quick: Path) -> None:
    kyc = kyc_of(quick)
    edit(kyc, "{otherwise: draft}]}\n", "{otherwise: ask}]}\n")
    edit(
        kyc,
        "  draft:",
        '  ask: {kind: ask, say: "Whose roof?", timeout: 2h, on_timeout: refuse, then: sort}\n'
        "  sort: {kind: classify, then: again}\n"
        "  again: {kind: policy-check, then: [{when: \"policy.verdict == 'deny'\", go: refuse}, {otherwise: draft}]}\n"
        "  draft:",
    )
    runner = opened(quick).runner
    asked = asyncio.run(runner.run("My roof leaks", ANN))
    assert asked.waiting["waits_for"] == "answer"
    assert (asked.waiting["reason"], asked.waiting["node"]) == ("Whose roof?", "ask")
    assert [each["node"] for each in asked.waiting["asked_by"]] == ["kyc"]
    with pytest.raises(RunError, match="SG610"):
        asyncio.run(runner.decide(asked.run, "answer", CLERK, text="mine"))
    with pytest.raises(RunError, match="Decide on"):
        asyncio.run(opened(quick).runner.services.children["kyc"].runner.decide(  # type: ignore[attr-defined]
            asked.waiting["asked_by"][0]["run"], "answer", ANN, text="mine"))  # fmt: skip
    done = asyncio.run(opened(quick).runner.decide(asked.run, "answer", ANN, text="my mother's"))
    assert done.status == "answered"
    assert way(done.state) == ["gate", "kyc", "respond"]
    assert done.state["request"]["text"] == "My roof leaks"
    assert "replies" not in done.state
    child = child_of(done.state)
    assert way(child) == ["gate", "ask", "sort", "again", "draft", "check", "respond"]
    assert child["request"]["text"] == "Identify: My roof leaks\nmy mother's"
