"""The command line on bad input: a code, a hint and a status, and never a traceback."""

import json
import sqlite3
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sluicegate.cli as cli
from sluicegate.cli.run import requests_in
from sluicegate.errors import ConfigError, RunError
from sluicegate.graphs.runtime import intake
from sluicegate.graphs.runtime.intake import principal
from tests.support import ROOT

ANN = principal("ann", ["employee"])
HELPDESK = str(ROOT / "configs" / "helpdesk" / "workflow.yaml")


def left_with(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["sluicegate", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_explains_itself(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert left_with(monkeypatch, command, "--help") == 0
    assert "Usage:" in capsys.readouterr().out


def test_arguments_show_their_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert left_with(monkeypatch, "ingest", "--help") == 0
    assert "A workflow's file, or a folder" in capsys.readouterr().out


def test_a_misspelt_command_is_told_the_nearest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert left_with(monkeypatch, "chekc") == 2
    assert "No such command 'chekc'. Did you mean 'check'?" in capsys.readouterr().err


def test_help_lists_a_commands_own_options_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert left_with(monkeypatch, "audit", "--help") == 0
    assert "completion" not in capsys.readouterr().out


def test_a_folder_is_answered_with_the_file_in_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(Path(HELPDESK).parent)
    assert left_with(monkeypatch, "run", folder, "hello") == 2
    assert f"cannot read {folder}: it is a folder. Name the file: {HELPDESK}" in capsys.readouterr().err


def test_a_binary_file_is_no_request() -> None:
    with pytest.raises(RunError, match="the request is not text"):
        intake.clean(bytes(range(256)) * 8)
    assert intake.clean("Grüße aus Köln".encode("cp1252")) == ("Grüße aus Köln", ["encoding"])


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\xfa", b"[" * 50_000, b"workflow: [", None])
def test_a_broken_config_is_an_error_with_a_code_and_a_place(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "workflow.yaml"
    if content is not None:
        file.write_bytes(content)
    assert left_with(monkeypatch, "run", str(file), "hi", "--json") == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"].startswith("SG1")
    assert all(problem["message"] for problem in error["problems"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["store", "checkpoints", "approvals", "ledger", "cache", "tools"])
def test_a_corrupt_database_is_named(
    name: str, own_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own_home.mkdir(parents=True, exist_ok=True)
    damaged = b"damaged " * 500
    (own_home / f"{name}.sqlite").write_bytes(damaged)
    assert left_with(monkeypatch, "run", HELPDESK, "hi", "--json") == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "SG606"
    assert f"{name}.sqlite" in error["message"]
    assert error["hint"]
    assert (own_home / f"{name}.sqlite").read_bytes() == damaged, "what may yet be rescued was written over"


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        (OSError(28, "No space left on device", "x.db"), 1, "SG607"),
        (PermissionError(13, "Permission denied", "x.db"), 1, "SG607"),
        (MemoryError(), 1, "SG611"),
        (sqlite3.OperationalError("database is locked"), 1, "SG608"),
        (sqlite3.DatabaseError("something else"), 1, "SG606"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_the_machine_gets_wrong_is_no_traceback(
    fault: BaseException, status: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: object) -> object:
        raise fault

    monkeypatch.setattr("sluicegate.graphs.runtime.factory.open_workflow", broken)
    assert left_with(monkeypatch, "run", HELPDESK, "hi") == status
    shown = capsys.readouterr().err
    assert said in shown
    assert "Traceback" not in shown


def test_bad_rows_are_named_all_at_once(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [
        '{"text": "hi", "principal": "bob"}', '{"text": "hi", "principal": {"clearance": "cosmic"}}',
        '{"text": "hi", "principal": {"root": true}}', '{"text": "hi", "expected": "fine"}', "[1]", "{", '{"text": 1}',
    ]  # fmt: skip
    file.write_text("\n".join(rows))
    with pytest.raises(ConfigError) as caught:
        requests_in(str(file), ANN)
    assert [problem.code for problem in caught.value.problems] == ["SG140"] * 6
    assert [problem.place.line for problem in caught.value.problems if problem.place] == [1, 2, 3, 5, 6, 7]


def test_a_row_may_say_who_asks(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "hi", "principal": {"id": "bob"}}')
    assert requests_in(str(file), ANN) == [("hi", {**ANN, "id": "bob"})]


def test_a_folder_is_no_request(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is a folder"):
        requests_in(str(tmp_path), ANN)


@pytest.mark.slow
@given(st.one_of(st.text(st.characters()), st.binary()))
def test_any_request_is_text_or_a_clear_refusal(raw: str | bytes) -> None:
    try:
        text = intake.clean(raw)[0].encode("utf-8")
    except RunError as error:
        text = error.code.encode()
        refused = True
    else:
        refused = False
    assert text in {b"SG601", b"SG602"} if refused else text.strip()
