"""`sluicegate chat`: a conversation on the terminal, and its lists."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sluicegate.cli import chat as chat_command
from sluicegate.cli import run as run_command
from sluicegate.errors import RunError
from tests.support.redacting import WORKFLOW, Desk

# typer imports a name that its newest click announces to remove
pytestmark = pytest.mark.filterwarnings("ignore:.*will be removed in Click:DeprecationWarning")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    made = Desk(tmp_path / "desk", monkeypatch)
    made.file.write_text(WORKFLOW + "conversation: {turns: 3}\n", encoding="utf-8")
    made.says("At nine.")
    return made


def chat(desk: Desk, *options: str, typed: str = "", who: str = "ann") -> str:
    done = CliRunner().invoke(chat_command.app, [str(desk.file), "--as", who, *options], input=typed)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.slow
def test_lines_are_turns_until_an_empty_one(desk: Desk) -> None:
    said = chat(desk, "--session", "c", typed="When does the gate open?\nAnd on Sunday?\n\nNever read\n")
    assert said.count("At nine.") == 2
    assert f"sluicegate chat {desk.file} --session c" in said
    turns = json.loads(chat(desk, "--session", "c", "--list", "--json"))
    assert [(turn["turn"], turn["question"], turn["answer"], turn["status"]) for turn in turns] == [
        (1, "When does the gate open?", "At nine.", "answered"),
        (2, "And on Sunday?", "At nine.", "answered"),
    ]
    # the next command goes on where this one ended
    chat(desk, "--session", "c", typed="And now?\n")
    (listed,) = json.loads(chat(desk, "--list", "--json"))
    assert (listed["session"], listed["turns"]) == ("c", 3)
    shown = chat(desk, "--session", "c", "--list")
    assert "And on Sunday?" in shown


def test_without_a_name_each_is_a_new_one(desk: Desk) -> None:
    chat(desk, typed="When?\n")
    chat(desk, typed="When?\n")
    assert [row["turns"] for row in json.loads(chat(desk, "--list", "--json"))] == [1, 1]


@pytest.mark.slow
def test_what_waits_is_said_and_a_refused_line_ends_nothing(desk: Desk) -> None:
    desk.router.label = "risky"
    said = chat(desk, "--session", "c", typed="May I?\n\x00\nAnd now?\n")
    assert said.count("waiting for role:lead") == 2
    assert "SG601" in said


@pytest.mark.slow
def test_anothers_conversation_is_refused(desk: Desk) -> None:
    chat(desk, "--session", "c", typed="When?\n")
    assert chat(desk, "--list", who="eve").strip() == "no conversations"
    with pytest.raises(RunError, match="SG640"):
        chat(desk, "--session", "c", "--list", who="eve")


def test_a_workflow_without_conversations_says_what_is_missing(desk: Desk) -> None:
    desk.file.write_text(WORKFLOW, encoding="utf-8")
    with pytest.raises(RunError, match="SG640") as raised:
        chat(desk)
    assert "conversation: {}" in (raised.value.hint or "")


@pytest.mark.slow
def test_run_takes_turns_too(desk: Desk) -> None:
    for text in ("When does the gate open?", "And on Sunday?"):
        done = CliRunner().invoke(run_command.app, [str(desk.file), text, "--as", "ann", "--session", "c", "--json"])
        assert done.exit_code == 0, done.output
    assert len(json.loads(chat(desk, "--session", "c", "--list", "--json"))) == 2
