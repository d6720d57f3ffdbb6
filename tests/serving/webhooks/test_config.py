"""A file of webhooks: what may stand in it, and every problem at its place."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from sluicegate.errors import ConfigError
from sluicegate.serving.webhooks.config import file_schema, read_webhooks
from sluicegate.serving.webhooks.signing import key_of, new_secret
from tests.support.hooks import SECRET

WHOLE = """
base_url: https://approvals.example.com/
destinations:
  siem:
    url: https://siem.example.com/hook
    secret: {env: SIEM_SECRET}
    previous_secret: {file: old}
    events: [approval.waiting, approval.decided, incident.opened]
    workflows: [helpdesk]
    people: true
  channel:
    url: {env: CHANNEL_URL}
    shape: slack
    events: [approval.waiting]
    texts: masked
    link: {for: {id: lea, roles: [helpdesk-lead]}, hours: 8}
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("SIEM_SECRET", SECRET)
    monkeypatch.setenv("CHANNEL_URL", "https://hooks.slack.com/services/T0/B0/xyz")
    (tmp_path / "old").write_text(f"{new_secret()}\n", encoding="ascii")

    def written(text: str) -> Path:
        path = tmp_path / "webhooks.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


def test_a_file_with_everything(write: Any) -> None:
    found = read_webhooks(write(WHOLE), served=["helpdesk", "claims"])
    siem, channel = found.destinations["siem"], found.destinations["channel"]
    assert found.base_url == "https://approvals.example.com"
    assert (siem.keys[0], len(siem.keys), channel.keys) == (key_of(SECRET), 2, [])
    assert channel.url.endswith("xyz")
    assert [siem.wants(kind, "helpdesk") for kind in ("approval.waiting", "budget.80")] == [True, False]
    assert not siem.wants("approval.waiting", "claims")
    assert channel.wants("approval.waiting", "claims")
    jsonschema.validate(yaml.safe_load(WHOLE), file_schema())


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("people: true", "people: yes", 10, "SG103"),
        ("people: true", "peple: true", 10, "unknown key 'peple'; did you mean 'people'"),
        ("people: true", "people: 1", 10, "SG107"),
        ("[helpdesk]", "[helpdsk]", 9, "no workflow 'helpdsk' is served; did you mean 'helpdesk'"),
        ("approval.decided", "approval.done", 8, "SG107"),
        ("{env: SIEM_SECRET}", "{env: NO_SUCH_VARIABLE}", 6, "the variable NO_SUCH_VARIABLE is not set"),
        ("{env: SIEM_SECRET}", "{env: CHANNEL_URL}", 6, "not base64. Make one: sluicegate webhooks secret"),
        ("{env: SIEM_SECRET}", "{}", 6, "exactly one of env and file"),
        ("{file: old}", "{file: older}", 7, "cannot read"),
        ("    secret: {env: SIEM_SECRET}\n", "", 4, "a destination of the shape json needs a secret"),
        ("base_url: https://approvals.example.com/\n", "", 15, "a link needs base_url"),
        ("slack\n    events: [approval.waiting]", "slack\n    events: [budget.80]", 16, "a link comes only"),
        ("https://siem.example.com/hook", "http://siem.example.com/hook", 5, "neither https nor http on the loopback"),
        ("https://siem.example.com/hook", "https://me:secret@siem.example.com/", 5, "has a user or a password in it"),
        ("https://siem.example.com/hook", "https://siem.example.com:99999/", 5, "is no address"),
        ("https://siem.example.com/hook", "siem", 5, "is no address"),
        ("  siem:", "  'si em':", 4, "is no name"),
        ("hours: 8", "hours: 10000", 16, "SG107"),
    ],
)  # fmt: skip
def test_every_problem_is_told_at_its_place(write: Any, old: str, new: str, line: int, said: str) -> None:
    assert old in WHOLE
    with pytest.raises(ConfigError) as error:
        read_webhooks(write(WHOLE.replace(old, new)), served=["helpdesk"])
    problem = error.value.problems[0]
    assert said in str(problem)
    assert problem.place
    assert problem.place.line == line


def test_no_address_from_elsewhere_and_no_secret_is_told(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHANNEL_URL", "http://hooks.example.com/services/xyz")
    monkeypatch.setenv("SIEM_SECRET", "whsec_tooShort")
    with pytest.raises(ConfigError) as error:
        read_webhooks(write(WHOLE))
    assert len(error.value.problems) == 2
    assert "xyz" not in str(error.value)
    assert "tooShort" not in str(error.value)


def test_a_file_of_nothing_is_no_file_of_webhooks(write: Any) -> None:
    for text in ("", "destinations: {}", "- a", json.dumps({"destinations": {"a": 1}})):
        with pytest.raises(ConfigError):
            read_webhooks(write(text))
