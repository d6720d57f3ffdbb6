"""Machines that share nothing but a PostgreSQL server: what one begins, another decides and ends."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from sluicegate.storage.postgres import URL
from tests.support import machine
from tests.support.processes import Started
from tests.support.redacting import LEADS, OWN, WORKFLOW

pytestmark = pytest.mark.slow

LEAD = ("--as", "lea", "--role", "lead")


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    folder = tmp_path / "desk"
    for name in ("prompts", "knowledge", "policies"):
        (folder / name).mkdir(parents=True)
    prompt = "---\nid: answer\nversion: 1\n---\n{{question}}{{sources}}{{feedback}}{{section}}\n"
    (folder / "prompts" / "answer.md").write_text(prompt, encoding="utf-8")
    (folder / "policies" / "own.cedar").write_text(LEADS, encoding="utf-8")
    (folder / "workflow.yaml").write_text(WORKFLOW, encoding="utf-8")
    return folder / "workflow.yaml"


def started(home: Path, url: str, *words: str, **more: str) -> Started:
    environment = {**os.environ, "SLUICEGATE_HOME": str(home), URL: url, **more}
    return Started(home.with_name(f"{home.name}-said"), environment, machine.command, *words)


def said(machine: Started) -> tuple[int, Any, str]:
    """Exit status, what it printed as JSON, and all that it printed."""
    status, out, errors = machine.ended()
    return status, json.loads(out) if out.strip().startswith(("{", "[")) else None, out + errors


def test_a_run_is_decided_on_another_machine(tmp_path: Path, workflow: Path, postgres: str) -> None:
    status, asked, errors = said(started(tmp_path / "a", postgres, "run", str(workflow), f"Write to {OWN}", "--json"))
    assert (status, asked["status"]) == (0, "waiting"), errors
    # the other machine has nothing of the first, not even the workflow
    shutil.move(workflow.parent, tmp_path / "gone")
    shutil.move(tmp_path / "a", tmp_path / "off")
    b = tmp_path / "b"
    assert said(started(b, postgres, "approvals", "list", "--json"))[1][0]["run"] == asked["run"]
    shown = said(started(b, postgres, "approvals", "show", asked["run"][:10], *LEAD, "--json"))[1]
    assert OWN in shown["request"], "what was redacted on the first machine is restored for whom policy allows"
    status, ended, errors = said(started(b, postgres, "approvals", "approve", asked["run"], *LEAD, "--json"))
    assert (status, ended["status"]) == (0, "answered"), errors
    assert ended["answer"] == f"We wrote to {OWN}."
    assert said(started(b, postgres, "approvals", "list", "--json"))[1] == []
    # its trace says there whose request that was
    row = said(started(b, postgres, "trace", "list", "--json"))[1][0]
    assert (row["run_id"], row["status"]) == (asked["run"], "answered")
    assert row["request"].startswith("Write to <")
    # the first machine comes back, and cannot decide again
    shutil.move(tmp_path / "gone", workflow.parent)
    shutil.move(tmp_path / "off", tmp_path / "a")
    status, _, errors = said(started(tmp_path / "a", postgres, "approvals", "reject", asked["run"], *LEAD))
    assert status == 1
    assert "SG605" in errors


def test_of_two_machines_that_decide_at_once_one_wins(tmp_path: Path, workflow: Path, postgres: str) -> None:
    asked = said(started(tmp_path / "a", postgres, "run", str(workflow), f"Write to {OWN}", "--json"))[1]
    at_once = [
        started(tmp_path / name, postgres, "approvals", verdict, asked["run"], *LEAD, "--json")
        for name, verdict in (("b", "approve"), ("c", "reject"), ("d", "approve"))
    ]
    decided = [said(process) for process in at_once]
    won = [found for status, found, _ in decided if status == 0]
    assert len(won) == 1
    lost = [errors for status, _, errors in decided if status]
    assert all("SG605" in errors for errors in lost), lost


def test_what_a_killed_machine_left_is_taken_up_by_another(tmp_path: Path, workflow: Path, postgres: str) -> None:
    command = ("run", str(workflow), f"Write to {OWN}", "--run", "cut-short", "--json")
    killed = started(tmp_path / "a", postgres, *command, DIES_AFTER="answer")
    assert said(killed)[0] == -signal.SIGKILL
    status, found, errors = said(started(tmp_path / "b", postgres, *command))
    assert (status, found["status"]) == (0, "waiting"), errors
    status, ended, errors = said(
        started(tmp_path / "c", postgres, "approvals", "approve", "cut-short", *LEAD, "--json")
    )
    assert (status, ended["answer"]) == (0, f"We wrote to {OWN}."), errors


def test_what_waits_in_a_home_is_not_forgotten_when_the_url_is_set(
    tmp_path: Path, workflow: Path, postgres: str
) -> None:
    a = tmp_path / "a"
    asked = said(started(a, "", "run", str(workflow), f"Write to {OWN}", "--json"))[1]
    assert asked["status"] == "waiting"
    assert "1 more runs wait in this home" in said(started(a, postgres, "approvals", "list"))[2]
    lines = said(started(a, postgres, "doctor", str(workflow), "--json"))[1]
    (told,) = [line for line in lines if line["what"] == "runs"]
    assert told["state"] == "warn"
    assert said(started(a, "", "approvals", "approve", asked["run"], *LEAD, "--json"))[1]["status"] == "answered"
    assert "more runs wait" not in said(started(a, postgres, "approvals", "list"))[2]


def test_another_version_is_refused_on_another_machine_too(tmp_path: Path, workflow: Path, postgres: str) -> None:
    asked = said(started(tmp_path / "a", postgres, "run", str(workflow), f"Write to {OWN}", "--json"))[1]
    workflow.write_text(WORKFLOW.replace("version: 1", "version: 2", 1), encoding="utf-8")
    assert said(started(tmp_path / "a", postgres, "run", str(workflow), "Hello", "--json"))[0] == 0
    status, _, errors = said(started(tmp_path / "b", postgres, "approvals", "approve", asked["run"], *LEAD))
    assert status == 1
    assert "SG604" in errors
    command = ("approvals", "approve", asked["run"], *LEAD, "--kept", "--json")
    status, ended, errors = said(started(tmp_path / "b", postgres, *command))
    assert (status, ended["status"]) == (0, "answered"), errors


def test_a_server_that_is_away_is_explained_and_loses_nothing(tmp_path: Path, workflow: Path, postgres: str) -> None:
    asked = said(started(tmp_path / "a", postgres, "run", str(workflow), f"Write to {OWN}", "--json"))[1]
    away = "postgresql://ann:hunter2@127.0.0.1:1/desk?connect_timeout=2"
    command = ("approvals", "approve", asked["run"], *LEAD, "--json")
    status, _, errors = said(started(tmp_path / "b", away, *command))
    assert status == 1
    assert "SG625" in errors
    assert "PostgreSQL 127.0.0.1:1/desk" in errors
    assert URL in errors, "a hint is named"
    assert "hunter2" not in errors
    assert said(started(tmp_path / "b", postgres, *command))[1]["status"] == "answered"


def test_what_is_switched_off_on_one_machine_is_off_on_the_other(tmp_path: Path, workflow: Path, postgres: str) -> None:
    command = ("budget", "switch", "off", "workflow:desk", "--reason", "an incident")
    assert said(started(tmp_path / "a", postgres, *command))[0] == 0
    refused = said(started(tmp_path / "b", postgres, "run", str(workflow), "Hello", "--json"))[1]
    assert refused["path"] == "refused"
    (entry,) = said(started(tmp_path / "b", postgres, "budget", "switch", "list", "--json"))[1]
    assert (entry["name"], entry["reason"]) == ("workflow:desk", "an incident")
