"""Each part by itself; `sluicegate check workflow.yaml` tries them together."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from example_plugin.guard import NO_SHOUTING
from example_plugin.node import URGENCY, Urgency
from example_plugin.tool import roll_dice

from sluicegate import GuardSettings, Helpers, ModelRequest, Subject, ToolContext


class SmallModel:
    """Gives one answer, and keeps what it was asked."""

    def __init__(self, urgent: bool) -> None:
        self.urgent = urgent
        self.asked: list[ModelRequest] = []

    async def chat(self, request: ModelRequest) -> Any:
        self.asked.append(request)
        return SimpleNamespace(parsed={"urgent": self.urgent})


@pytest.mark.parametrize("urgent", [True, False])
def test_the_node_keeps_what_the_small_model_says(urgent: bool) -> None:
    model = SmallModel(urgent)
    state: Any = {"request": {"text": "The server is down!"}, "extra": {"other": 1}}
    services: Any = SimpleNamespace(models=model)

    async def visit() -> dict[str, Any]:
        return await URGENCY.make("urgency", Urgency())(state, services)

    assert asyncio.run(visit()) == {"extra": {"other": 1, "urgent": urgent}}
    (request,) = model.asked
    assert request.role == "slm"
    assert request.messages[-1].content == "The server is down!"


def test_the_tool_rolls_the_same_for_the_same_key() -> None:
    rolls = [roll_dice.function(ToolContext(Path(), "run", key), sides=4)["rolled"] for key in "aabcdefgh"]
    assert rolls[0] == rolls[1]
    assert set(rolls) <= {1, 2, 3, 4}
    assert roll_dice.schema["properties"]["sides"]["maximum"] == 100


@pytest.mark.parametrize(("text", "passes"), [("Roll a die", True), ("ROLL A DIE NOW", False), ("42", True)])
def test_the_guard_stops_shouting(text: str, passes: bool) -> None:
    check: Any = NO_SHOUTING.make(GuardSettings(), Helpers())
    assert check(Subject(text, "request")).passed is passes
