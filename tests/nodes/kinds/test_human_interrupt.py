"""What a person is shown, and what their decision makes of it."""

from dataclasses import replace
from typing import Any

import langgraph.types
import pytest

from sluicegate.errors import RunError
from sluicegate.graphs.runtime.intake import principal
from sluicegate.nodes.kinds.human_interrupt import HUMAN_INTERRUPT, HumanInterrupt, edited
from sluicegate.services import CallAhead
from tests.support.answering import state
from tests.support.fakes import services


def decided(verdict: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Have every question decided like this; what is asked then."""
    asked: list[Any] = []

    def decide(payload: Any) -> Any:
        asked.append(payload)
        return verdict

    monkeypatch.setattr(langgraph.types, "interrupt", decide)
    return asked


async def test_an_edit_of_no_draft_is_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    given = services()
    verdict: Any = {"verdict": "edit", "principal": principal("lea", ["lead"]), "reason": "", "text": "Come at nine.",
                    "asked_at": given.now().isoformat()}  # fmt: skip
    asked = decided(verdict, monkeypatch)
    node = HUMAN_INTERRUPT.make("approve", HumanInterrupt(approvers="role:lead"))
    update = await node(state(given), given)
    assert asked[0]["draft"] == ""
    assert (update["answer"]["text"], update["answer"]["by"], update["answer"]["model"]) == (
        "Come at nine.",
        "approve",
        "",
    )
    assert update["approval"]["verdict"] == "edit"


async def test_a_person_sees_the_arguments_that_the_workflow_gives_and_cannot_edit_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = services()
    call = CallAhead("create_ticket", {}, {"title": "{{items.notes}}", "category": "hardware", "gone": "{{items.no}}"})
    given = replace(given, workflow=replace(given.workflow, ahead=lambda node, state: call))
    verdict: Any = {"verdict": "approve", "principal": principal("lea", ["lead"]), "reason": "", "text": "",
                    "asked_at": given.now().isoformat()}  # fmt: skip
    asked = decided(verdict, monkeypatch)
    before: Any = {
        **state(given),
        "items": {"notes": [{"index": 0, "value": "a", "answer": {"text": "Two desks", "citations": []}}]},
    }
    node = HUMAN_INTERRUPT.make("approve", HumanInterrupt(approvers="role:lead"))
    await node(before, given)
    shown = {"title": "1. Two desks", "category": "hardware"}
    assert asked[0]["proposal"] == {"tool": "create_ticket", "arguments": shown}
    with pytest.raises(RunError, match="SG626 the workflow gives the arguments of create_ticket"):
        edited("approve", "edit", "", {"title": "One desk"}, before, given)
