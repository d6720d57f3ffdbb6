"""A challenger in the shadow changes nothing outside: real tools, a real ticket desk, stand-ins for models."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from sluicegate.evals.shadow.pairing import challenge_by, compare
from sluicegate.graphs.runtime.factory import open_workflow
from sluicegate.nodes.tools.tool_runner import ToolRunner
from tests.support.fakes import FakeModels, FakeRouter
from tests.support.flows import ANN
from tests.support.shadowing import plan

WORKFLOW = Path("configs/patterns/1-slm-router-tools/workflow.yaml")


def rows(file: Path, sql: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(file)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("label", "arguments", "called"),
    [
        ("open_ticket", {"title": "The monitor flickers", "category": "hardware", "urgency": "normal"}, False),
        ("find_ticket", {"words": "monitor"}, True),
    ],
    ids=["a tool with effects", "a tool without"],
)
async def test_a_challenger_calls_only_tools_without_effects(
    own_home: Path, monkeypatch: pytest.MonkeyPatch, label: str, arguments: dict[str, str], called: bool
) -> None:
    monkeypatch.setattr("sluicegate.graphs.runtime.factory.ModelSet", lambda _models: FakeModels(parsed=arguments))
    monkeypatch.setattr("sluicegate.graphs.runtime.factory._router", lambda *_given: FakeRouter(label))
    tried: list[str] = []
    real = ToolRunner._try

    async def trying(self: ToolRunner, found: Any, given: dict[str, Any], key: str, run: str) -> Any:
        tried.append(run)
        return await real(self, found, given, key, run)

    monkeypatch.setattr(ToolRunner, "_try", trying)
    champion = await open_workflow(WORKFLOW).runner.run("The monitor on my desk flickers", ANN)
    assert (champion.status, champion.path) == ("answered", "tool")
    _, challenge = challenge_by(WORKFLOW, own_home / "shadow" / "1")
    pair, _ = await compare(plan(), champion, challenge)
    # it went the same way to its end, through the same node
    assert (pair.events, pair.challenger["answered"]) == ((), 1.0)
    assert tried == ([champion.run, pair.challenger_run] if called else [champion.run])
    if not called:
        assert rows(own_home / "tickets.sqlite", "SELECT run FROM tickets") == [(champion.run,)]
        assert rows(own_home / "tools.sqlite", "SELECT run FROM tool_calls") == [(champion.run,)]
