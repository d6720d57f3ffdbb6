"""What operators change: on record, once, and only by whom the policies let."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sluicegate.errors import NotWaitingError, RunError
from sluicegate.graphs.runtime.intake import principal
from sluicegate.policies.cedar.engine import CedarEngine
from sluicegate.policies.cedar.sources import PolicyFile, policy_files
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.serving.operating.rights import concerned_by, may_operate, must_operate
from sluicegate.serving.operating.switches import switch_off, switch_on
from sluicegate.serving.service import Service

OLGA = principal("olga", ["operator"])


def events(home: Path) -> list[tuple[str, str, str]]:
    lines = "".join(path.read_text() for path in sorted((home / "audit").glob("audit-*.jsonl"))).splitlines()
    bodies = [json.loads(line) for line in lines]
    return [(body["event"], body["facts"]["name"], body["facts"]["reason"]) for body in bodies]


def test_a_switch_is_on_record_with_its_reason(own_home: Path) -> None:
    switch_off("intent:refund", reason="it pays twice", by="olga")
    assert switch_on("intent:refund", reason="mended", by="olga")
    assert not switch_on("intent:refund", reason="again", by="olga")
    assert events(own_home) == [
        ("switch.off", "intent:refund", "it pays twice"), ("switch.on", "intent:refund", "mended")
    ]  # fmt: skip


def test_a_switch_that_somebody_else_moved_is_left_alone(own_home: Path) -> None:
    first = switch_off("model:m", reason="the first", by="olga", once=True)
    with pytest.raises(NotWaitingError):
        switch_off("model:m", reason="the second", by="otto", once=True)
    with pytest.raises(NotWaitingError):
        switch_on("model:m", reason="not that one", by="otto", since="2026-01-01T00:00:00+00:00")
    assert KillSwitch().entries() == [first]
    switch_on("model:m", reason="mended", by="otto", since=first.at)
    with pytest.raises(NotWaitingError):
        switch_on("model:m", reason="mended", by="otto", since=first.at)
    assert [event for event, _, _ in events(own_home)] == ["switch.off", "switch.on"]


def served(name: str, own: str = "") -> Service:
    """As far as policies are asked."""
    files = [*policy_files(), *([PolicyFile("own.cedar", own)] if own else [])]
    services = SimpleNamespace(policy=CedarEngine(files))
    runner = SimpleNamespace(services=services)
    return cast("Any", SimpleNamespace(name=name, versions=SimpleNamespace(serving=SimpleNamespace(runner=runner))))


@pytest.fixture
def both() -> list[Service]:
    own = '@id("own.release")\n@reason("releases are the board\'s")\nforbid (principal, action == Action::"operate", '
    return [served("open"), served("strict", own + 'resource) when { context.task == "promote" };\n')]


def test_what_concerns_several_workflows_is_asked_of_each(both: list[Service]) -> None:
    first, second = both
    assert may_operate(OLGA, "promote", [first])
    assert not may_operate(OLGA, "promote", [second])
    assert not may_operate(OLGA, "promote", both)
    assert may_operate(OLGA, "switch-off", both)
    assert not may_operate(OLGA, "switch-off", [])
    assert concerned_by("strict", both) == [second]
    assert concerned_by("audit log", both) == both


@pytest.mark.parametrize("roles", [[], ["employee"], ["auditor"], ["helpdesk-lead"]])
def test_others_than_operators_change_nothing(both: list[Service], roles: list[str]) -> None:
    with pytest.raises(RunError, match="SG610"):
        must_operate(principal("eve", roles), "switch-off", both[:1])
