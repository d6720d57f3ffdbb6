"""A firewall's file: every problem at its place, and the schema that editors use."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sluicegate.cli import app
from sluicegate.errors import ConfigError
from sluicegate.serving.firewall.config import firewall_schema, read_firewall
from sluicegate.serving.firewall.pins import faults
from sluicegate.serving.firewall.workflow import load_workflow
from tests.support import ROOT
from tests.support.mcp_upstream import tool

EXAMPLE = ROOT / "configs" / "firewall"
APPROVAL = "approval:\n  approvers: role:desk-lead\n  timeout: 4h\n  hold_s: 20\n"


@pytest.fixture(autouse=True)
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator's file of the example, and the Python that has the server's library."""
    monkeypatch.setenv("SLUICEGATE_MCP", str(EXAMPLE / "mcp.json"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(ROOT)


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[str, str], Path]:
    """The example with one text in the place of another."""

    def change(before: str, after: str) -> Path:
        text = (EXAMPLE / "firewall.yaml").read_text()
        assert before in text
        file = tmp_path / "firewall.yaml"
        file.write_text(text.replace(before, after))
        (tmp_path / "pins.json").write_text((EXAMPLE / "pins.json").read_text())
        (tmp_path / "policies").mkdir(exist_ok=True)
        (tmp_path / "policies" / "desk.cedar").write_text((EXAMPLE / "policies" / "desk.cedar").read_text())
        return file

    return change


@pytest.mark.parametrize(
    ("before", "after", "code", "said", "suggestion"),
    [
        ("purpose:", "purpos:", "SG105", "unknown key 'purpos'", "purpose"),
        ("risk: low", "risk: lo", "SG107", "\"lo\" is not allowed here", "low"),
        ("usd: 0.01", "usd: yes", "SG103", "yes", None),
        ("  desk:", "  dask:", "SG117", "the MCP server 'dask' is not listed", "desk"),
        ("      find:", "      fnd:", "SG117", "desk has no pinned tool 'fnd'", "find"),
        ("guards: [secrets]", "guards: [secret]", "SG116", "unknown guard 'secret'", "secrets"),
        ("guards: [secrets]", "guards: [slm-review]", "SG116", "a firewall has no model to ask", None),
        ("role:desk-lead", "desk-lead", "SG107", "role:NAME, group:NAME or user:NAME", None),
        (APPROVAL, "", "SG106", "missing key 'approval'", None),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_at_its_place(
    changed: Any, before: str, after: str, code: str, said: str, suggestion: str | None
) -> None:
    file = changed(before, after)
    with pytest.raises(ConfigError) as raised:
        read_firewall(file)
    problem = next(one for one in raised.value.problems if one.code == code)
    assert said in problem.message
    assert problem.suggestion == suggestion
    assert problem.place is not None
    assert problem.place.file == str(file)


@pytest.mark.slow
def test_a_broken_policy_is_said_at_its_own_place(changed: Any) -> None:
    file = changed("version: 1", "version: 2")
    policy = file.parent / "policies" / "desk.cedar"
    policy.write_text(policy.read_text().replace("mcp.desk.find", "mcp.desk.fnd"))
    with pytest.raises(ConfigError) as raised:
        load_workflow(read_firewall(file))
    (problem,) = raised.value.problems
    assert (problem.code, problem.suggestion) == ("SG201", "mcp.desk.find")
    assert problem.place is not None
    assert (problem.place.file, problem.place.line) == (str(policy), 3)


@pytest.mark.slow
def test_a_check_proves_what_is_generated() -> None:
    ran = CliRunner().invoke(app, ["mcp", "proxy", str(EXAMPLE / "firewall.yaml"), "--check"])
    assert ran.exit_code == 0, ran.output
    assert "guarantees proved, 0 waived" in ran.stdout


def test_the_committed_schema_is_the_generated_one() -> None:
    committed = (ROOT / "configs" / "firewall.schema.json").read_text(encoding="utf-8")
    assert json.loads(committed) == firewall_schema(), (
        "run: sluicegate schema --firewall --out configs/firewall.schema.json"
    )


def test_every_part_of_a_contract_counts() -> None:
    pinned = {"find": tool("find", words="string"), "pay": tool("pay")}
    assert list(faults(pinned, pinned)) == []
    now = {"find": {**pinned["find"], "inputSchema": {"type": "object"}, "title": "Find"}, "pаy": tool("pаy")}
    assert list(faults(pinned, now)) == [
        ("find", "has another title, inputSchema than was pinned"),
        ("pay", "is not offered any more"),
        ("pаy", "was not pinned"),
    ]
