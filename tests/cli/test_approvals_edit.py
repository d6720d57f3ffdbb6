"""An edit of a waiting tool call changes what the tool is called with, or is refused; nothing a person gave is lost."""

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from sluicegate.cli import app
from sluicegate.errors import RunError
from sluicegate.graphs.runtime.factory import open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.graphs.session.session import Session
from sluicegate.home import home
from sluicegate.observe.tracing.store import Store
from sluicegate.storage.schemas import TICKETS
from sluicegate.storage.sqlite import connect
from tests.support.ticketing import REQUEST, WORKFLOW, ticket_desk

LEAD = ("--as", "lea", "--role", "lead")
EXTRACTED = {"title": "Printer on floor 2 is jammed"}
ANN, LEA = principal("ann", ["employee"]), principal("lea", ["lead"])


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return ticket_desk(tmp_path / "desk", monkeypatch, extracted=EXTRACTED)


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments], env={"COLUMNS": "200"})


def said(*arguments: str) -> Any:
    result = command(*arguments, "--json")
    assert result.exit_code == 0, result.output or result.exception
    return json.loads(result.stdout)


def refusal(result: Result) -> RunError:
    assert isinstance(result.exception, RunError), result.output
    return result.exception


def ask(desk: Path) -> str:
    return said("run", str(desk), REQUEST, "--as", "ann")["run"]


def tickets() -> list[dict[str, Any]]:
    connection = connect(home() / "tickets.sqlite", TICKETS)
    try:
        return [dict(row) for row in connection.execute("SELECT title, category, details FROM tickets")]
    finally:
        connection.close()


@pytest.mark.slow
def test_an_edited_argument_is_what_the_tool_is_called_with(desk: Path) -> None:
    run = ask(desk)
    assert said("approvals", "show", run)["edits"] == "arguments"
    assert "edit takes --set ARGUMENT=VALUE" in command("approvals", "show", run).stdout
    decided = said("approvals", "edit", run, "--set", "details=Ask for Bob first.", "--set", "category=hardware", *LEAD)
    assert tickets() == [{**EXTRACTED, "category": "hardware", "details": "Ask for Bob first."}]
    after = {**EXTRACTED, "category": "hardware", "details": "Ask for Bob first."}
    assert decided["edited"] == {"before": EXTRACTED, "after": after}
    assert decided["tool_calls"][0]["arguments"] == after


@pytest.mark.slow
def test_before_and_after_are_shown_and_recorded(desk: Path) -> None:
    run = ask(desk)
    shown = command("approvals", "edit", run, "--set", "title=Paper jam on floor 2", *LEAD).stdout
    assert "title: 'Printer on floor 2 is jammed' → 'Paper jam on floor 2'" in shown
    store = Store(home() / "store.sqlite")
    [values] = [one["values"] for one in store.decisions(run) if one["node"] == "approve"]
    assert values["approval.arguments"] == EXTRACTED
    assert values["extraction.fields"] == {"title": "Paper jam on floor 2"}
    assert "title = 'Printer on floor 2 is jammed' → 'Paper jam on floor 2'" in command("trace", "show", run).stdout
    log = "".join(file.read_text() for file in (home() / "audit").rglob("*.jsonl"))
    assert run in log
    assert "jam" not in log


@pytest.mark.slow
def test_words_alone_are_refused_and_nothing_is_called(desk: Path) -> None:
    run = ask(desk)
    for given_too in ((), ("--set", "details=Now.")):
        error = refusal(command("approvals", "edit", run, "Please ask your manager first.", *given_too, *LEAD))
        assert error.code == "SG626"
        assert "an edit takes its arguments" in error.message
        assert "--set NAME=VALUE" in str(error.hint)
        assert "reject" in str(error.hint)
    assert tickets() == []
    assert [one["run"] for one in said("approvals", "list")] == [run]
    decided = said("approvals", "reject", run, "--reason", "Please ask your manager first.", *LEAD)
    assert "Please ask your manager first." in decided["answer"]
    assert tickets() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    ["category=carpentry", "title=no", "colour=red", "title=null", "urgency=[1]"],
    ids=["no such value", "too short", "no such argument", "a required one taken out", "a list for a text"],
)
def test_an_edit_that_does_not_fit_the_tool_is_refused(desk: Path, change: str) -> None:
    run = ask(desk)
    assert refusal(command("approvals", "edit", run, "--set", change, *LEAD)).code == "SG626"
    assert tickets() == []
    assert said("approvals", "approve", run, *LEAD)["status"] == "answered"
    assert tickets()[0]["title"] == EXTRACTED["title"]


@pytest.mark.slow
def test_the_schema_of_the_extraction_holds_for_an_edit_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = 'prompt: ticket\n    fields: {properties: {title: {type: string, pattern: "floor"}}, required: [title]}'
    narrow = WORKFLOW.replace("prompt: ticket", own)
    run = ask(ticket_desk(tmp_path / "desk", monkeypatch, extracted=EXTRACTED, workflow=narrow))
    assert refusal(command("approvals", "edit", run, "--set", "title=Printer jammed", *LEAD)).code == "SG626"
    assert said("approvals", "edit", run, "--set", "title=All of floor 2", *LEAD)["status"] == "answered"


@pytest.mark.slow
def test_where_an_edit_calls_nothing_it_takes_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = ticket_desk(tmp_path / "desk", monkeypatch, extracted=EXTRACTED, edit="respond")
    run = ask(desk)
    shown = said("approvals", "show", run)
    assert (shown["edits"], shown["proposal"]["tool"]) == ("text", "create_ticket")
    assert refusal(command("approvals", "edit", run, "--set", "details=x", *LEAD)).code == "SG626"
    assert said("approvals", "edit", run, "Ask your manager.", *LEAD)["answer"] == "Ask your manager."
    assert tickets() == []


@pytest.mark.slow
def test_a_tool_that_the_workflow_names_is_proposed_whatever_the_intent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = WORKFLOW.replace("task: tool", "task: triage").replace(", tool: create_ticket", "")
    named = named.replace("kind: call-tool", "kind: call-tool\n    tool: create_ticket")
    named = named.replace("prompt: ticket", "prompt: ticket\n    fields: {properties: {title: {type: string}}}")
    run = ask(ticket_desk(tmp_path / "desk", monkeypatch, extracted=EXTRACTED, workflow=named))
    assert said("approvals", "show", run)["proposal"] == {"tool": "create_ticket", "arguments": EXTRACTED}
    assert refusal(command("approvals", "edit", run, "Please ask.", *LEAD)).code == "SG626"
    said("approvals", "edit", run, "--set", "category=other", *LEAD)
    assert tickets()[0]["category"] == "other"


@pytest.mark.slow
def test_the_reason_names_the_branch_with_its_values(desk: Path) -> None:
    run = ask(desk)
    reason = said("approvals", "list")[0]["reason"]
    assert (
        reason
        == "repair is a high-risk class; asked because `intent.risk == 'high'` at details (intent.risk = \"high\")"
    )
    assert "asked because `intent.risk == 'high'`" in " ".join(command("approvals", "show", run).stdout.split())
    assert "asked because `intent.risk == 'high'`" in Session.open(run)._repr_html_().replace("&#x27;", "'")


@pytest.mark.slow
@settings(max_examples=25)
@given(
    changes=st.dictionaries(
        st.sampled_from(["title", "category", "details", "other"]),
        st.one_of(st.none(), st.text(max_size=8), st.integers(), st.sampled_from(["hardware", "A paper jam"])),
        max_size=3,
    )
)
def test_whatever_is_edited_is_called_or_refused(changes: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setenv("SLUICEGATE_HOME", folder)
        desk = ticket_desk(Path(folder) / "desk", patch, extracted=EXTRACTED)
        runner = open_workflow(desk).runner

        async def decided() -> Outcome | None:
            waiting = await runner.run(REQUEST, ANN)
            try:
                return await runner.decide(waiting.run, "edit", LEA, arguments=changes)
            except RunError:
                assert await runner.call(runner.waiting, waiting.run)
                return None

        outcome = asyncio.run(decided())
        if outcome is None:
            assert tickets() == []
        else:
            wanted = {name: value for name, value in {**EXTRACTED, **changes}.items() if value is not None}
            [call] = outcome.state["tool_calls"]
            assert (call["status"], call["arguments"]) == ("done", wanted)
            assert {name: tickets()[0][name] for name in wanted} == wanted


def test_a_session_edits_arguments_too(desk: Path) -> None:
    session = Session.start(desk, REQUEST, as_="ann", dry=True)
    session.run()
    assert "edit_arguments(" in session._repr_html_()
    with pytest.raises(RunError, match="an edit takes its arguments"):
        session.edit_draft("Ask.", as_="lea", role="lead")
    session.edit_arguments({"details": "Ask for Bob."}, as_="lea", role="lead")
    assert session.run().state["tool_calls"][0]["arguments"] == {**EXTRACTED, "details": "Ask for Bob."}
