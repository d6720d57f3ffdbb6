"""`sluicegate policy` and `sluicegate budget`, as people and scripts call them."""

import asyncio
import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sluicegate.cli import budget, policy
from sluicegate.errors import BudgetError, ConfigError
from sluicegate.observe.audit.log import open_audit
from sluicegate.observe.audit.proof import records
from sluicegate.observe.audit.verify import verify
from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.ledger.ledger import SqliteLedger
from sluicegate.services import Reservation
from tests.support import ROOT

HELPDESK = str(ROOT / "configs" / "helpdesk")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLUICEGATE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SLUICEGATE_AUDIT_KEY", raising=False)
    return tmp_path / "home"


def call(app: Any, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*words], catch_exceptions=False, standalone_mode=True)
    return result.exit_code, result.stdout


def called(app: Any, *words: str) -> Any:
    return json.loads(call(app, *words, "--json")[1])


def test_switching_off_and_on_is_listed_and_audited() -> None:
    assert call(budget.app, "switch", "off", "model:openai:m", "--reason", "key leaked", "--by", "op")[0] == 0
    (row,) = called(budget.app, "switch", "list")
    assert (row["name"], row["reason"], row["by"]) == ("model:openai:m", "key leaked", "op")
    assert "key leaked" in call(budget.app, "switch", "list")[1]
    assert called(budget.app, "switch", "on", "model:openai:m") == {"name": "model:openai:m", "changed": True}
    assert called(budget.app, "switch", "on", "model:openai:m")["changed"] is False
    log = open_audit()
    assert [body["event"] for body, _, _ in records(log.folder)] == ["switch.off", "switch.on"]
    assert log.payloads.names()[next(records(log.folder))[0]["actor"]] == "op"
    assert verify(log.folder).findings == ()


def test_a_name_of_no_kind_is_refused() -> None:
    with pytest.raises(BudgetError, match="did you mean 'model'"):
        call(budget.app, "switch", "off", "modle:x", "--reason", "r")


def test_spending_and_caps_are_shown(tmp_path: Path) -> None:
    config = tmp_path / "w"
    ledger = SqliteLedger(BudgetConfig(per_day_usd=1))
    made = asyncio.run(
        ledger.reserve(run="r", principal="p", intent="i", workflow="helpdesk", model="m", usd=0.5, tokens=10)
    )
    assert isinstance(made, Reservation)
    asyncio.run(ledger.settle(made, usd=0.25, tokens=7))
    shown = called(budget.app, "show", "--by", "model")
    assert [(row["model"], row["estimated_usd"], row["usd"], row["tokens"]) for row in shown["spending"]] == [
        ("m", 0.5, 0.25, 7)
    ]
    assert "$0.2500" in call(budget.app, "show")[1]
    assert not config.exists()


@pytest.mark.slow
def test_a_workflows_caps_are_shown() -> None:
    caps = called(budget.app, "show", HELPDESK)["caps"]
    assert all(cap["left"] == cap["limit"] for cap in caps)
    assert any(cap["name"].startswith("per_") for cap in caps)


@pytest.mark.slow
def test_prices_are_shown_with_their_age(tmp_path: Path) -> None:
    day = (datetime.now(UTC) - timedelta(days=40)).date().isoformat()
    price = f'{{input: 0.25, output: 2.00, priced_on: "{day}"}}'
    models = f'{{llm: {{use: "openai:gpt-5-mini", otherwise: [slm], price_per_mtok: {price}}}}}'
    (tmp_path / "workflow.yaml").write_text(f"extends: {HELPDESK}/workflow.yaml\nworkflow: own\nmodels: {models}\n")
    (row,) = called(budget.app, "show", str(tmp_path))["prices"]
    assert (row["role"], row["input"], row["output"], row["age_days"]) == ("llm", 0.25, 2.0, 40)
    assert "40 days ago" in call(budget.app, "show", str(tmp_path))[1]
    assert "no date" in call(budget.app, "show", HELPDESK)[1]


def test_the_clock_is_accepted_only_when_asked() -> None:
    assert call(budget.app, "clock")[0] == 2
    assert call(budget.app, "clock", "--accept", "--by", "op")[0] == 0
    assert [body["event"] for body, _, _ in records(open_audit().folder)] == ["budget.clock"]


@pytest.mark.slow
def test_explaining_an_allow_and_a_deny() -> None:
    status, text = call(policy.app, "explain", HELPDESK, "--as", "bob", "--intent", "password_reset")
    assert status == 0
    assert "base.ask" in text
    words = ["explain", HELPDESK, "--as", "alice", "--action", "see_trace", "--resource", "Run:r1"]
    denied = called(policy.app, *words, "--attribute", "requester=bob")
    assert denied["decision"] == "deny"
    assert denied["reason"] == "no policy allows it"
    assert {row["id"]: row["applies"] for row in denied["policies"]} == {
        "base.trace.own": False, "base.trace.operators": False,
    }  # fmt: skip
    allowed = called(policy.app, *words, "--attribute", "requester=bob", "--role", "auditor")
    assert [row["id"] for row in allowed["policies"] if row["decides"]] == ["base.trace.operators"]


@pytest.mark.parametrize(
    "folder",
    [file.parents[1] for file in sorted((ROOT / "configs").rglob("policies/examples.yaml"))]
    + [ROOT / "src" / "sluicegate" / "cli" / "starter"],
    ids=lambda folder: folder.name,
)
def test_the_examples_that_ship_come_out_as_they_say(folder: Path) -> None:
    found = called(policy.app, "test", str(folder))
    assert found["failed"] == 0
    own = {
        rule
        for file in (folder / "policies").glob("*.cedar")
        for rule in re.findall(r'@id\("([^"]+)', file.read_text())
    }
    assert own, "what ships examples has policies of its own"
    assert own <= {row["expected_rule"] for row in found["examples"]}


def test_without_examples_it_says_what_to_write(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    shutil.copytree(ROOT / "src" / "sluicegate" / "cli" / "starter", folder)
    (folder / "policies" / "examples.yaml").unlink()
    with pytest.raises(ConfigError, match="no examples: ") as raised:
        call(policy.app, "test", str(folder))
    [problem] = raised.value.problems
    (folder / "policies" / "examples.yaml").write_text(str(problem.hint).partition("such as ")[2], "utf-8")
    assert [row["passed"] for row in called(policy.app, "test", str(folder))["examples"]] == [True]


@pytest.mark.slow
def test_examples_are_run_and_a_failing_one_fails(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    (folder / "policies").mkdir(parents=True)
    (folder / "workflow.yaml").write_text(f"extends: {HELPDESK}/workflow.yaml\nworkflow: variant\n", "utf-8")
    own = '@id("own.no") @reason("closed") forbid (principal, action == Action::"ask", resource);'
    (folder / "policies" / "own.cedar").write_text(own, "utf-8")
    rows = "- {name: one, principal: {id: a}, expect: deny, rule: own.no}\n"
    (folder / "policies" / "examples.yaml").write_text(rows, "utf-8")
    assert call(policy.app, "test", str(folder))[0] == 0
    (folder / "policies" / "examples.yaml").write_text(
        rows + "- {name: two, principal: {id: a}, expect: allow}\n", "utf-8"
    )
    status, text = call(policy.app, "test", str(folder))
    assert status == 1
    assert "FAILED" in text
    shown = called(policy.app, "test", str(folder))
    assert shown["failed"] == 1
    assert [(row["passed"], row["rules"]) for row in shown["examples"]] == [(True, ["own.no"]), (False, ["own.no"])]
