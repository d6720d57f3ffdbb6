"""Which way the helpdesk sends a draft of the small model, out, to the large one or a person; and the starter none."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sluicegate import cli
from sluicegate.errors import RunError
from sluicegate.graphs.runtime.factory import Opened, open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.runtime.outcome import Outcome
from tests.support.fakes import FakeConfidence, FakeRetriever
from tests.support.helpdesk import ANSWERED, HELPDESK, fakes

STARTER = Path(cli.__file__).parent / "starter"
LEAD = principal("lea", ["helpdesk-lead"])
DRAFTED = ANSWERED[:5]


async def asked(**replaced: Any) -> tuple[Outcome, Opened]:
    opened = open_workflow(HELPDESK, change=lambda given: replace(fakes()(given), **replaced))
    return await opened.runner.run("How do I reset it?", principal("ann", ["employee"])), opened


def nodes(outcome: Outcome) -> list[str]:
    return [entry["node"] for entry in outcome.state["trail"]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sure", "answerability", "way"),
    [
        (0.9, 0.95, [*DRAFTED, "check", "respond"]),
        (0.3, 0.8, [*DRAFTED, "synthesize", "check", "respond"]),
        (0.3, 0.5, [*DRAFTED, "check"]),
        (0.05, 0.1, [*DRAFTED, "check"]),
    ],
    ids=["sure", "the documents say it, the small model did not find it", "as likely missed as absent", "undocumented"],
)
async def test_a_draft_goes_where_it_can_be_mended(sure: float, answerability: float, way: list[str]) -> None:
    judged = FakeConfidence(sure, threshold=0.6, answerability=answerability)
    outcome, _ = await asked(confidence=judged)
    assert nodes(outcome) == way
    if way[-1] == "check":
        assert outcome.waiting is not None
        assert outcome.waiting["node"] == "approve"
        reason = outcome.waiting["reason"]
        assert reason.startswith(f"the draft is right with probability {sure:.2f}; 0.60 is required; asked because `")
        assert "answer.confidence = " in reason


@pytest.mark.slow
async def test_where_nothing_was_found_a_person_writes_or_rejects() -> None:
    outcome, opened = await asked(retriever=FakeRetriever({"h1": "# Only a heading", "h2": ""}))
    assert outcome.waiting is not None
    assert outcome.waiting["draft"] == ""
    assert outcome.waiting["reason"].startswith("nothing was found to draft an answer from; asked because `")
    assert "synthesize" not in nodes(outcome)
    with pytest.raises(RunError, match="no draft to approve") as refused:
        await opened.runner.decide(outcome.run, "approve", LEAD)
    assert refused.value.code == "SG605"
    done = await opened.runner.decide(outcome.run, "edit", LEAD, text="Room 3 has one.")
    assert (done.status, done.text) == ("answered", "Room 3 has one.")


async def test_in_the_starter_nothing_goes_out_for_a_complaint_that_no_document_answers(tmp_path: Path) -> None:
    file = shutil.copytree(STARTER, tmp_path / "shop") / "workflow.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("router: {artifact: router,", "router: {strategy: slm,"), encoding="utf-8")
    opened = open_workflow(file, change=fakes("complaint", retriever=FakeRetriever(count=0)))
    outcome = await opened.runner.run("I want to complain.", principal("ann", ["employee"]))
    assert outcome.waiting is not None
    reason = outcome.waiting["reason"]
    assert reason.startswith("complaint is a high-risk class; nothing was found to draft an answer from; asked ")
    lead = principal("lea", ["lead"])
    with pytest.raises(RunError, match="no draft to approve"):
        await opened.runner.decide(outcome.run, "approve", lead)
    done = await opened.runner.decide(outcome.run, "edit", lead, text="We are sorry.")
    assert (done.status, done.text) == ("answered", "We are sorry.")
