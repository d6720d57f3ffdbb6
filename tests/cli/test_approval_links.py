"""`sluicegate approvals link` and `links`, over a workflow of its own with stand-ins for the models only."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from sluicegate import Service
from sluicegate.cli import approvals
from sluicegate.errors import RunError
from sluicegate.graphs.runtime.intake import principal
from tests.support.stand import NoShadow
from tests.support.ticketing import REQUEST, ticket_desk

pytestmark = pytest.mark.slow


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    desk = ticket_desk(tmp_path / "desk", monkeypatch, extracted={"title": "jammed"})
    return Service(desk, beside=NoShadow)  # type: ignore[arg-type]


def command(*arguments: str) -> Result:
    return CliRunner().invoke(approvals.app, [*arguments])


def said(*arguments: str) -> Any:
    result = command(*arguments, "--json")
    assert result.exit_code == 0, result.output or result.exception
    return json.loads(result.stdout)


def test_a_link_that_the_command_made_decides_at_the_service(service: Service) -> None:
    with service:
        run = service.ask_now(REQUEST, principal("ann", ["employee"])).run
    made = said(
        "link", run[:12], "--for", "lea", "--role", "lead", "--url", "https://desk.example.com/", "--hours", "2"
    )
    assert made["url"].startswith("https://desk.example.com/console/approve/")
    assert (made["run"], made["for"]) == (run, "lea")
    (listed,) = said("links")
    assert (listed["link"], listed["for"]["roles"], listed["ended"]) == (made["link"], ["lead"], "")
    table = command("links", run[:12]).stdout
    assert "lea" in table
    assert made["url"].rsplit("/", 1)[1] not in table + json.dumps(listed)
    assert command("link", run, "--for", "lea", "--role", "lead").stdout.startswith("http://127.0.0.1:8080/console/")
    assert said("link", "--revoke", made["link"][:10])["revoked"] == made["link"]
    assert {one["link"]: one["ended"] for one in said("links")}[made["link"]] == "revoked"
    assert said("link", "--rotate") == {"rotated": True}


def test_a_link_needs_a_run_and_a_person_who_may_decide(service: Service) -> None:
    with service:
        run = service.ask_now(REQUEST, principal("ann", ["employee"])).run
    for wrong in ((), (run,), (run, "--for", "lea", "--rotate"), ("--revoke", "a", "--rotate")):
        assert command("link", *wrong).exit_code == 2
    for person in (("bob",), ("ann", "--role", "lead")):
        refused = command("link", run, "--for", *person)
        assert isinstance(refused.exception, RunError)
        assert refused.exception.code == "SG610"
    assert said("links") == []
