"""What a person's decision makes of the draft."""

from typing import Any

import langgraph.types
import pytest

from sluicegate.graphs.runtime.intake import principal
from sluicegate.nodes.kinds.human_interrupt import HUMAN_INTERRUPT, HumanInterrupt
from tests.support.answering import state
from tests.support.fakes import services


async def test_an_edit_of_no_draft_is_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    given = services()
    verdict: Any = {"verdict": "edit", "principal": principal("lea", ["lead"]), "reason": "", "text": "Come at nine.",
                    "asked_at": given.now().isoformat()}  # fmt: skip
    asked: list[Any] = []

    def decided(payload: Any) -> Any:
        asked.append(payload)
        return verdict

    monkeypatch.setattr(langgraph.types, "interrupt", decided)
    node = HUMAN_INTERRUPT.make("approve", HumanInterrupt(approvers="role:lead"))
    update = await node(state(given), given)
    assert asked[0]["draft"] == ""
    assert (update["answer"]["text"], update["answer"]["by"], update["answer"]["model"]) == (
        "Come at nine.",
        "approve",
        "",
    )
    assert update["approval"]["verdict"] == "edit"
