"""`sluicegate webhooks`, and what `serve` and `doctor` make of a file of webhooks and of what was not delivered."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import Result
from typer.testing import CliRunner

from sluicegate.cli import doctor, serve, webhooks
from sluicegate.errors import ConfigError, RunError
from sluicegate.serving.webhooks.events import events_schema
from sluicegate.serving.webhooks.outbox import Announcement, Outbox
from sluicegate.serving.webhooks.signing import key_of
from tests.support.hooks import Hooks, hooks_file


def command(*arguments: str) -> Result:
    return CliRunner().invoke(webhooks.app, [*arguments])


def said(*arguments: str) -> Any:
    result = command(*arguments, "--json")
    assert result.exit_code == 0, result.output or result.exception
    return json.loads(result.stdout)


def event(key: str) -> Announcement:
    return Announcement("approval.waiting", (key,), "desk", key, "2026-11-27T12:00:00+00:00", {"secret words": key})


def test_what_was_not_delivered_is_listed_retried_and_dropped() -> None:
    assert command("list").stdout == "every event is delivered\n"
    with closing(Outbox()) as outbox:
        for key in ("run-1", "run-2"):
            outbox.add(event(key), ["ops"])
        outbox.switch_off("ops", "HTTP 410")
        outbox.add(event("run-3"), ["chat"])
    listed = said("list")
    assert [(one["destination"], one["state"], one["run"]) for one in listed["deliveries"]] == [
        ("chat", "waiting", "run-3"), ("ops", "dead", "run-1"), ("ops", "dead", "run-2")
    ]  # fmt: skip
    assert listed["off"] == {"ops": "HTTP 410"}
    assert "secret words" not in json.dumps(listed)
    table = command("list").stdout
    assert "ops is switched off: HTTP 410" in table
    assert event("run-1").id in table
    assert said("retry", "ops") == {"retried": 2}
    assert said("drop", event("run-1").id) == {"dropped": 1}
    assert {one["state"] for one in said("list")["deliveries"]} == {"waiting"}
    nothing = command("retry", "nobody")
    assert isinstance(nothing.exception, RunError)
    assert nothing.exception.code == "SG603"


@pytest.mark.slow
def test_a_destination_is_tested_before_it_is_needed(tmp_path: Path) -> None:
    with Hooks((200, {}), (404, {})) as hooks:
        file = str(hooks_file(tmp_path, hooks.url))
        assert said("test", file, "ops")["status"] == 200
        failed = command("test", file, "ops")
    assert (failed.exit_code, failed.stdout) == (1, "HTTP 404\n")
    jsonschema.validate(hooks.got[0].said, events_schema())
    assert hooks.got[0].headers["webhook-signature"].startswith("v1,")
    unknown = command("test", file, "opps")
    assert isinstance(unknown.exception, RunError)
    assert unknown.exception.hint == "Did you mean 'ops'?"


def test_a_secret_and_the_schemas_are_printed() -> None:
    assert len(key_of(said("secret")["secret"])) == 32
    assert said("secret") != said("secret")
    assert said("schema")["properties"].keys() == {"base_url", "destinations"}
    assert said("schema", "--events") == events_schema()


@pytest.mark.slow
def test_doctor_tells_of_what_is_dead(tmp_path: Path) -> None:
    def lines() -> list[dict[str, Any]]:
        found = CliRunner().invoke(doctor.app, ["--json"])
        return [line for line in json.loads(found.stdout) if line["what"] == "webhooks"]

    assert lines() == []
    with closing(Outbox()) as outbox:
        outbox.add(event("run-1"), ["ops", "chat"])
        assert lines() == []
        outbox.switch_off("ops", "HTTP 410")
    (line,) = lines()
    assert line["detail"] == "ops: 1 events were not delivered; HTTP 410"
    assert "sluicegate webhooks retry ops" in line["hint"]


def test_serve_refuses_a_file_with_a_mistake_before_it_opens_anything(tmp_path: Path) -> None:
    file = hooks_file(tmp_path, "http://receiver.example.com/")
    options = ["no-such-workflow.yaml", "--as", "ann", "--webhooks", str(file)]
    refused = CliRunner().invoke(serve.app, options)
    assert isinstance(refused.exception, ConfigError)
    assert "neither https nor http" in str(refused.exception)
