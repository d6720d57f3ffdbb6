"""docs/webhooks.md: its file is one, its example verifies real messages, and its tables are what the code has."""

import json
from pathlib import Path
from typing import Any

import pytest

from sluicegate.cli import webhooks
from sluicegate.serving.webhooks.config import DestinationConfig, read_webhooks
from sluicegate.serving.webhooks.events import EVENTS, events_schema
from sluicegate.serving.webhooks.signing import new_secret
from tests.support.hooks import SECRET, Hooks, hooks_file
from tests.support.pages import blocks, page, table

PAGE = page("docs/webhooks.md")


def test_the_file_of_the_page_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HELPDESK_CHANNEL", "LEAS_OWN_CHANNEL"):
        monkeypatch.setenv(name, "https://chat.example.com/hook")
    monkeypatch.setenv("SIEM_SECRET", SECRET)
    (text,) = blocks(PAGE, "yaml")
    (tmp_path / "webhooks.yaml").write_text(text, encoding="utf-8")
    found = read_webhooks(tmp_path / "webhooks.yaml", served=["helpdesk"])
    assert [*found.destinations] == ["siem", "helpdesk-channel", "lea"]


def test_the_example_verifies_what_is_sent_and_nothing_else(tmp_path: Path) -> None:
    (code,) = blocks(PAGE, "python")
    known: dict[str, Any] = {}
    exec(code, known)
    verified = known["verified"]
    from typer.testing import CliRunner

    new = new_secret()
    (tmp_path / "new").write_text(new, encoding="ascii")
    with Hooks() as hooks:
        file = hooks_file(tmp_path, hooks.url, previous_secret={"file": "new"})
        assert CliRunner().invoke(webhooks.app, ["test", str(file), "ops"]).exit_code == 0
    (got,) = hooks.got
    assert verified(SECRET, got.headers, got.body)
    assert verified(new, got.headers, got.body), "during a rotation either will do"
    assert not verified(new_secret(), got.headers, got.body)
    assert not verified(SECRET, got.headers, got.body + b" ")
    assert not verified(SECRET, {**got.headers, "webhook-id": "evt_other"}, got.body)
    late = int(got.headers["webhook-timestamp"]) + 301
    assert not verified(SECRET, got.headers, got.body, now=lambda: late)


def test_the_tables_are_what_the_code_has() -> None:
    assert [cell.strip("`") for cell in table(PAGE, "type")] == [*EVENTS]
    keys = {name.strip(" `") for cell in table(PAGE, "key") for name in cell.split(",")}
    assert keys == {*DestinationConfig.model_fields}
    shown = json.loads(next(block for block in blocks(PAGE, "json")).replace("…", "x"))
    forms: Any = events_schema()
    assert shown["data"].keys() <= forms["$defs"]["ApprovalWaiting"]["properties"].keys()
