"""Pattern 9 on stand-in models: each position by itself, a workflow that says who asks, a person above a sum."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import ModelError, RunError
from sluicegate.graphs.config.check import check
from sluicegate.graphs.config.load import load
from sluicegate.graphs.runtime.factory import Opened, open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.graphs.session.checkpoint_reader import recorded
from sluicegate.services import Completion, ModelRequest
from sluicegate.state import DocumentRef
from tests.support import ROOT
from tests.support.approving import later
from tests.support.fakes import FakeModels, FakeRetriever
from tests.support.flows import way
from tests.support.helpdesk import fakes
from tests.support.pages import run

FOLDER = ROOT / "configs" / "patterns" / "9-claims-intake"
ANN = principal("ann", ["customer"])
CLERK = principal("cleo", ["clerk"])
LEAD = principal("lea", ["claims-lead"])
SMALL = {"carpet": 480, "lamp": 70}
TAKEN_IN = ["classify", "gate", "read", "kyc", "positions"]


@dataclass
class Reader(FakeModels):
    """Reads the positions as they are meant, and quotes the first sentence; fails on a position with `poison`."""

    positions: Mapping[str, float] = field(default_factory=lambda: SMALL)
    policy: str = "HC-204871"
    poison: str = "nothing has this in it"

    async def chat(self, request: ModelRequest) -> Completion:
        fields = (request.schema or {}).get("properties", {})
        listed = [{"what": what, "amount": amount} for what, amount in self.positions.items()]
        self.parsed = {"sentences": [1]} if "sentences" in fields else {"policy": self.policy, "positions": listed}
        if self.poison in request.messages[-1].content:
            raise ModelError("SG305", "not JSON")
        return await super().chat(request)


@dataclass
class Register(FakeRetriever):
    """The terms, and the records of policies that a person may read."""

    own: Sequence[str] = ("HC-204871",)

    async def search(self, index: str, query: str, principal: Any, *, k: int) -> list[DocumentRef]:
        return [
            {
                "id": name, "version": "1", "title": name, "source": f"knowledge/{name}.md", "score": 0.8,
                "span": [0, 23], "hash": "h1", "classification": "internal",
            }
            for name in (self.own if index == "register" else ["water"])
        ]  # fmt: skip


def opened(label: str = "claim", confidence: float = 0.99, **replaced: Any) -> Opened:
    given = {"models": Reader(), "retriever": Register(), **replaced}
    return open_workflow(FOLDER / "workflow.yaml", change=fakes(label, confidence, **given))


def said(positions: Mapping[str, float] = SMALL, policy: str = "HC-204871") -> str:
    return f"Water, policy {policy}: " + ", ".join(f"{what} {amount} euros" for what, amount in positions.items())


def tickets(outcome: Outcome) -> list[dict[str, Any]]:
    return [call["arguments"] for call in outcome.state.get("tool_calls", []) if call["status"] == "done"]


def assessed(outcome: Outcome) -> list[dict[str, Any]]:
    return (outcome.state.get("items") or {})["assessments"]


@pytest.mark.slow
async def test_a_claim_of_its_holder_is_opened_with_every_position() -> None:
    outcome = await opened().runner.run(said(), ANN)
    assert way(outcome.state) == [*TAKEN_IN, "open", "check_claim", "respond"]
    (ticket,) = tickets(outcome)
    assert ticket["title"] == "Claim on HC-204871"
    assert ticket["details"].splitlines() == [f"{n}. Reset it in the portal. [water]" for n in (1, 2)]
    assert outcome.text.startswith("Claim on HC-204871 is open as T-0000")
    assert [one["value"]["what"] for one in assessed(outcome)] == [*SMALL]


@pytest.mark.slow
async def test_who_asks_is_said_by_a_run_of_its_own() -> None:
    outcome = await opened().runner.run(said(), ANN)
    child = recorded(outcome.state["child"]["run"])  # pyright: ignore[reportTypedDictNotRequiredAccess]
    assert way(child) == ["gate", "record", "holder", "check", "respond"]
    assert child.get("inputs") == {"policy": "HC-204871"}
    assert (child["run"]["workflow"], child["run"].get("parent")) == ("kyc", outcome.run)
    assert outcome.state.get("answer", {}).get("by") == "open", "nothing that the register says is sent"


@pytest.mark.slow
@pytest.mark.parametrize(
    "positions",
    [{"piano": 500.5}, {"carpet": 480, "laptop": 1150}, {"rug": 20, "lamp": 30, "desk": 40, "chair": 50}],
    ids=["a dear one", "a dear one among others", "many"],
)
@pytest.mark.parametrize(("verdict", "opens"), [("approve", 1), ("reject", 0)])
async def test_above_a_sum_a_person_decides(positions: Mapping[str, float], verdict: str, opens: int) -> None:
    made = opened(models=Reader(positions=positions))
    outcome = await made.runner.run(said(positions), ANN)
    assert outcome.waiting is not None
    assert outcome.waiting["node"] == "approve"
    assert outcome.waiting["proposal"]["arguments"]["title"] == "Claim on HC-204871"
    assert tickets(outcome) == []
    with pytest.raises(RunError):
        await made.runner.decide(outcome.run, verdict, CLERK, reason="mine")
    done = await made.runner.decide(outcome.run, verdict, LEAD, reason="seen")
    assert len(tickets(done)) == opens
    assert done.status == ("answered" if opens else "refused")


LACKING = "Water everywhere, the carpet costs 480 euros and the lamp 70 euros."
ASKED = ["classify", "gate", "read", "ask", "classify", "gate", "read"]


@pytest.mark.slow
async def test_a_claim_that_lacks_something_is_asked_for_it() -> None:
    made = opened()
    outcome = await made.runner.run(LACKING, ANN)
    assert outcome.waiting is not None
    assert (outcome.waiting["node"], outcome.waiting["approvers"]) == ("ask", "user:ann")
    assert "the number of your policy" in outcome.waiting["reason"]
    with pytest.raises(RunError):
        await made.runner.decide(outcome.run, "answer", LEAD, text="HC-204871")
    done = await made.runner.decide(outcome.run, "answer", ANN, text="It is HC-204871.")
    assert way(done.state) == [*ASKED, "kyc", "positions", "open", "check_claim", "respond"]
    assert len(tickets(done)) == 1


@pytest.mark.slow
async def test_it_asks_once() -> None:
    made = opened()
    outcome = await made.runner.run(LACKING, ANN)
    done = await made.runner.decide(outcome.run, "answer", ANN, text="I do not know the number.")
    assert way(done.state) == [*ASKED, "clarify"]
    assert tickets(done) == []


async def test_what_the_router_is_not_sure_of_is_asked_for_and_not_guessed_at() -> None:
    models = Reader()
    outcome = await opened(confidence=0.4, models=models).runner.run(said(), ANN)
    assert outcome.waiting is not None
    assert outcome.waiting["node"] == "ask"
    assert models.asked == []


@pytest.mark.slow
async def test_an_answer_that_does_not_come_in_time_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = opened()
    outcome = await made.runner.run(LACKING, ANN)
    later(monkeypatch, hours=49)
    done = await opened().runner.expire(outcome.run)
    assert way(done.state)[-2:] == ["ask", "lapsed"]
    assert tickets(done) == []


@pytest.mark.slow
async def test_where_the_text_names_more_amounts_than_were_read_a_person_decides() -> None:
    outcome = await opened(models=Reader(positions={"carpet": 480})).runner.run(said(), ANN)
    assert outcome.waiting is not None
    assert outcome.waiting["node"] == "approve"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verdict", "onward"), [("approve", ["kyc", "positions", "open"]), ("reject", ["kyc", "unknown"])]
)
async def test_where_the_record_is_not_theirs_a_clerk_decides(verdict: str, onward: list[str]) -> None:
    made = opened(retriever=Register(own=["HC-204817"]))
    outcome = await made.runner.run(said(), ANN)
    assert outcome.waiting is not None
    assert (outcome.waiting["node"], outcome.waiting["approvers"]) == ("clerk", "role:clerk")
    with pytest.raises(RunError):
        await made.runner.decide(outcome.run, verdict, LEAD, reason="mine")
    done = await made.runner.decide(outcome.run, verdict, CLERK, reason="seen")
    assert way(done.state)[3:6] == onward
    assert len(tickets(done)) == (verdict == "approve")


@pytest.mark.slow
async def test_where_they_have_no_record_nothing_is_looked_at() -> None:
    models = Reader()
    outcome = await opened(retriever=Register(own=[]), models=models).runner.run(said(), ANN)
    assert way(outcome.state) == [*TAKEN_IN[:4], "unknown"]
    assert len(models.asked) == 1, "the reading"


@pytest.mark.slow
async def test_a_poisoned_position_is_a_persons_and_the_others_are_assessed() -> None:
    outcome = await opened(models=Reader(poison="Is this insured: lamp?")).runner.run(said(), ANN)
    assert outcome.waiting is not None
    assert outcome.waiting["node"] == "approve"
    assert [one["index"] for one in (outcome.state.get("failed_items") or {})["assessments"]] == [1]
    assert [one["index"] for one in assessed(outcome)] == [0]


@pytest.mark.slow
async def test_no_model_is_asked_about_what_policy_keeps_for_people() -> None:
    positions = {"carpet": 480, "painting": 7200}
    models = Reader(positions=positions)
    outcome = await opened(models=models).runner.run(said(positions), ANN)
    asked = [message.content for _, messages in models.asked for message in messages[-1:]]
    assert any("Is this insured: carpet?" in text for text in asked)
    assert not any("Is this insured: painting?" in text for text in asked)
    assert outcome.waiting is not None
    assert outcome.waiting["node"] == "approve"


@pytest.mark.slow
async def test_a_question_on_the_terms_is_answered_from_them() -> None:
    outcome = await opened("cover").runner.run("Is a wet carpet insured?", ANN)
    assert way(outcome.state) == ["classify", "gate", "facts", "answer", "check", "respond"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('- {when: "extraction.complete",                  go: kyc}', '- {when: "extraction.complete", go: positions}'),
        ("go: positions}\n      - {otherwise: unknown}", "go: open}\n      - {otherwise: positions}"),
        ("then: check}\n  check:", "then: respond}\n  check:"),
    ],
    ids=["no identity", "no look at the positions", "an unchecked answer"],
)
def test_what_breaks_a_promise_does_not_start(old: str, new: str, tmp_path: Path) -> None:
    file = shutil.copytree(FOLDER, tmp_path / "claims") / "workflow.yaml"
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")
    assert "SG134" in [problem.code for problem in check(file).problems]


def test_its_register_is_read_by_each_holder_alone() -> None:
    kyc = load(FOLDER / "workflow.yaml").children["kyc"]
    records = sorted((FOLDER / "kyc" / "knowledge").glob("*.md"))
    assert records
    assert [*kyc.config.indexes] == ["register"]
    for record in records:
        assert 'readers: ["user:' in record.read_text(encoding="utf-8")
        assert "everyone" not in record.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_register_is_taken_in_with_the_terms() -> None:
    done = run(["sluicegate", "ingest", str(FOLDER), "--json"])
    assert done.exit_code == 0, done.output
    reports = json.loads(done.output)["indexes"]
    assert {name: len(report["added"]) for name, report in reports.items()} == {"terms": 7, "kyc/register": 4}
    (only,) = json.loads(run(["sluicegate", "ingest", str(FOLDER), "--index", "terms", "--json"]).output)["indexes"]
    assert only == "terms"
