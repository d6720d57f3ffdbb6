"""Incidents as an operator meets them: list, show, annotate, close, export."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sluicegate.cli.incidents import app
from sluicegate.errors import RunError
from sluicegate.observe.audit.log import open_audit
from sluicegate.observe.incidents import Incidents


@pytest.fixture
def known(own_home: Path) -> str:
    own_home.mkdir()
    found = Incidents(audit=open_audit()).record("tampering", system="helpdesk", source="log", description="an edit")
    assert found
    return found


def run(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False, env={"COLUMNS": "100"})
    assert done.exit_code == 0, done.output
    return done.stdout


def as_json(*words: str) -> Any:
    return json.loads(run(*words, "--json"))


def test_the_list_names_an_incident_as_the_next_command_needs_it(known: str) -> None:
    assert known in run("list")
    assert [one["id"] for one in as_json("list")] == [known]
    assert "an edit" in run("show", known)
    assert as_json("show", known[:-2])["description"] == "an edit"


def test_what_an_operator_does_is_shown_and_exported(known: str, tmp_path: Path) -> None:
    graded = as_json(
        "annotate", known, "customers saw it", "--severity", "widespread", "--impact", "two", "--by", "lea"
    )
    assert (graded["severity"], graded["impact"]) == ("widespread", "two")
    assert "closed" in run("close", known, "keys rotated", "--by", "lea")
    assert run("list") == "no open incidents\n"
    assert [one["status"] for one in as_json("list", "--all")] == ["closed"]
    run("export", "--out", str(tmp_path / "incidents.json"))
    exported = json.loads((tmp_path / "incidents.json").read_text())
    assert exported == as_json("export")
    assert [note["by"] for note in exported[0]["notes"]] == ["lea", "lea"]


@pytest.mark.parametrize("words", [("annotate", " "), ("close", ""), ("annotate", "x", "--severity", "bad")])
def test_what_says_nothing_is_refused(known: str, words: tuple[str, ...]) -> None:
    command, *others = words
    assert CliRunner().invoke(app, [command, known, *others]).exit_code == 2
    assert as_json("show", known)["notes"] == []


def test_closing_twice_and_an_unknown_id_are_refused(known: str) -> None:
    run("close", known, "done")
    for code, words in (("SG605", ["close", known, "again"]), ("SG603", ["show", "zzz"])):
        with pytest.raises(RunError, match=code):
            CliRunner().invoke(app, words, catch_exceptions=False)
