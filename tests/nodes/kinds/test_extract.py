"""`extract`: the model proposes, the request decides; what is not stated is missing, and the trail says so."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sluicegate.cli import app
from sluicegate.errors import ConfigError
from sluicegate.graphs.config.load import load
from sluicegate.graphs.runtime.factory import open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.nodes.kinds.extract import EXTRACT, Extract
from sluicegate.services import IntentFacts
from sluicegate.state import State
from tests.support.fakes import FakeModels, services
from tests.support.ticketing import WORKFLOW, ticket_desk

CLAIM = {
    "type": "object",
    "properties": {
        "plate": {"type": "string", "description": "number plate, such as HH-AB 123"},
        "people": {"type": "integer"},
    },
    "required": ["plate"],
}


async def extracted(text: str, parsed: Any, *, given: dict[str, Any] | None = None, **settings: Any) -> Any:
    state: Any = {
        "request": {"text": text, "received_at": "2026-11-27T09:00:00+00:00"},
        "intent": {"label": "claim", "tool": ""},
    }
    made = services(models=FakeModels({"slm": ""}, parsed=parsed))
    facts = {"claim": IntentFacts("tool", "low", 60, fields=given or {})}
    made = replace(made, workflow=replace(made.workflow, intents=facts))
    node = EXTRACT.make("details", Extract(prompt="claim", fields=CLAIM, **settings))
    return (await node(cast_state(state), made))["extraction"]


def cast_state(state: Any) -> State:
    return state


async def test_a_plate_that_nobody_wrote_is_missing() -> None:
    found = await extracted("I want to report an accident", {"plate": "HH-AB 123", "people": 1})
    assert (found["fields"], found["complete"]) == ({}, False)
    assert found["missing"] == ["plate", "people"]
    assert found["dropped"] == [
        "plate: it does not stand in the request", "people: it does not stand in the request"
    ]  # fmt: skip


async def test_what_the_request_states_is_complete() -> None:
    found = await extracted("Accident with hh ab 123, two people", {"plate": "HH-AB 123", "people": 2})
    assert found["fields"] == {"plate": "HH-AB 123", "people": 2}
    assert (found["missing"], found["complete"]) == ([], True)
    assert "dropped" not in found


async def test_what_the_intent_gives_is_not_asked_of_the_request() -> None:
    found = await extracted("Two people", {"people": 2}, given={"plate": "none"})
    assert (found["fields"], found["complete"]) == ({"people": 2, "plate": "none"}, True)


async def test_a_rule_of_the_node_lets_the_model_decide() -> None:
    found = await extracted(
        "An accident, and nobody hurt: HH-AB 9", {"plate": "HH-AB 9", "people": 0}, values={"people": "derived"}
    )
    assert (found["fields"]["people"], found["complete"]) == (0, True)


FIELDS = """prompt: ticket
    fields:
      properties: {title: {type: string}, urgency: {enum: [low, high]}, hurt: {type: boolean}}
      required: [title]"""


def checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: str) -> Any:
    workflow = WORKFLOW.replace("prompt: ticket", f"{FIELDS}\n    values: {values}")
    return load(ticket_desk(tmp_path / "desk", monkeypatch, extracted={}, workflow=workflow))


def test_rules_for_fields_that_there_are_not_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError) as refused:
        checked(tmp_path, monkeypatch, "{titel: reworded, urgency: {hihg: [now]}}")
    [field, value] = [problem for problem in refused.value.problems if problem.severity == "error"]
    assert (field.code, field.suggestion) == ("SG105", "title")
    assert (value.code, value.suggestion) == ("SG107", "high")


def test_a_yes_or_no_that_nothing_can_state_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings = checked(tmp_path, monkeypatch, "{urgency: derived}").warnings
    [warning] = [one for one in warnings if one.code == "SG107"]
    assert "'hurt'" in warning.message


async def test_the_trail_and_the_trace_say_what_was_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = ticket_desk(tmp_path / "desk", monkeypatch, extracted={"title": "Lamp in room 12 is broken"})
    outcome = await open_workflow(desk).runner.run("I want to report something", principal("ann", ["employee"]))
    [entry] = [entry for entry in outcome.state.get("trail", []) if entry["node"] == "details"]
    assert entry["branch"]["values"]["extraction.dropped"] == ["title: it does not stand in the request"]
    assert outcome.waiting is not None
    assert outcome.waiting["proposal"] == {"tool": "create_ticket", "arguments": {}, "missing": ["title"]}
    shown = CliRunner().invoke(app, ["trace", "show", outcome.run], env={"COLUMNS": "250"}).stdout
    assert "dropped: title: it does not stand in the request" in shown
