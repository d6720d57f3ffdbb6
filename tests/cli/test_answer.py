"""`sluicegate answer`, and how `run`, `chat` and `approvals` show what is asked."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sluicegate.cli import answer as answer_command
from sluicegate.cli import approvals as approvals_command
from sluicegate.cli import chat as chat_command
from sluicegate.cli import run as run_command
from sluicegate.errors import NotWaitingError, RunError
from tests.support.approving import later
from tests.support.asking import QUESTION, VAGUE, asking_desk
from tests.support.redacting import Desk

# typer imports a name that its newest click announces to remove
pytestmark = pytest.mark.filterwarnings("ignore:.*will be removed in Click:DeprecationWarning")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return asking_desk(tmp_path / "desk", monkeypatch)


def invoked(app: Any, *arguments: str, typed: str = "") -> str:
    done = CliRunner().invoke(app, [*arguments], input=typed)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


@pytest.mark.slow
def test_a_run_says_how_it_is_answered_and_the_command_answers_it(desk: Desk) -> None:
    shown = invoked(run_command.app, str(desk.file), VAGUE, "--as", "ann")
    assert f"asks      {QUESTION}" in shown
    run, _, rest = shown.partition("sluicegate answer ")[2].partition(" ")
    assert rest.startswith("TEXT --as ann, until ")
    assert "no run is waiting for a decision" in invoked(approvals_command.app, "list")
    with pytest.raises(NotWaitingError):
        invoked(approvals_command.app, "show", run)
    with pytest.raises(RunError, match="SG610"):
        invoked(answer_command.app, run, "the laptop", "--as", "eve")
    said = json.loads(invoked(answer_command.app, run[:18], "-", "--as", "ann", "--json", typed="the laptop\n"))
    assert (said["status"], said["answer"]) == ("answered", "It is in the manual.")
    with pytest.raises(NotWaitingError):
        invoked(answer_command.app, run, "the laptop", "--as", "ann")


@pytest.mark.slow
def test_in_a_conversation_the_next_line_is_the_answer(desk: Desk) -> None:
    said = invoked(chat_command.app, str(desk.file), "--as", "ann", "--session", "c", typed=f"{VAGUE}\nthe laptop\n")
    assert said.index(QUESTION) < said.index("It is in the manual.")
    invoked(chat_command.app, str(desk.file), "--as", "ann", "--session", "c", typed=f"{VAGUE}\n")
    # started again, it asks again
    said = invoked(chat_command.app, str(desk.file), "--as", "ann", "--session", "c", typed="the printer\n")
    assert said.index(QUESTION) < said.index("It is in the manual.")
    listed = json.loads(invoked(chat_command.app, str(desk.file), "--as", "ann", "--session", "c", "--list", "--json"))
    assert [turn["question"] for turn in listed] == [f"{VAGUE}\nthe laptop", f"{VAGUE}\nthe printer"]
    again = json.loads(invoked(run_command.app, str(desk.file), VAGUE, "--as", "ann", "--session", "d", "--json"))
    done = invoked(run_command.app, str(desk.file), "the laptop", "--as", "ann", "--session", "d", "--json")
    assert json.loads(done)["run"] == again["run"]


@pytest.mark.slow
def test_a_question_that_timed_out_goes_on_when_somebody_looks(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = json.loads(invoked(run_command.app, str(desk.file), VAGUE, "--as", "ann", "--json"))
    later(monkeypatch, 2.1)
    invoked(approvals_command.app, "watch", "--once")
    with pytest.raises(NotWaitingError):
        invoked(answer_command.app, asked["run"], "the laptop", "--as", "ann")
    again = json.loads(invoked(run_command.app, str(desk.file), "x", "--run", asked["run"], "--as", "ann", "--json"))
    assert (again["status"], again["way"]) == ("refused", ["classify", "ask", "refuse"])
