"""`kill -9` on both sides of the boundary of a run within another one: before it starts, in it, while it waits for a
person, and when it has ended and its parent does not know it yet.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.desk import PRICE
from tests.faults.nested_desk import CHILD, RUN
from tests.support import ROOT

pytestmark = pytest.mark.slow

CHECKPOINTS = "sluicegate.graphs.runtime.checkpoints:Checkpoints"
APPROVALS = "sluicegate.graphs.runtime.approvals:Approvals"
LEDGER = "sluicegate.policies.ledger.ledger:BudgetLedger"
NESTED = "sluicegate.graphs.runtime.steps.child_run"
POINTS = [
    # of the parent 4, of the child 8, the parent's question between them
    *(f"{CHECKPOINTS}.put:before:{count}" for count in range(1, 13)),
    f"{CHECKPOINTS}.put:after:12",
    *(f"{CHECKPOINTS}.put_writes:before:{count}" for count in range(1, 13, 3)),
    *(f"{NESTED}:NestedWorkflow.start:{when}:{count}" for count in (1, 2) for when in ("before", "after")),
    *(f"{NESTED}:NestedRun.run:{when}:{count}" for count in (1, 2) for when in ("before", "after")),
    *(f"{NESTED}:NestedRun.decide:{when}:1" for when in ("before", "after")),
    *(f"{APPROVALS}.{method}:{when}:1" for method in ("claim", "applied") for when in ("before", "after")),
    *(f"{LEDGER}.{method}:after:2" for method in ("reserve", "settle")),
    "tests.faults.desk:PaidModels.chat:after:1",
    "sluicegate.nodes.tools.tool_runner:ToolRunner.call:after:1",
    "sluicegate.nodes.tools.tool_runner:ToolRunner._remember:before:1",
]

ON_SERVER = [
    *(f"{CHECKPOINTS}.put:before:{count}" for count in (2, 3, 7, 11)),
    f"{NESTED}:NestedRun.run:after:1",
    *(f"{NESTED}:NestedRun.decide:{when}:1" for when in ("before", "after")),
    f"{APPROVALS}.claim:after:1",
    f"{LEDGER}.settle:after:2",
    "sluicegate.nodes.tools.tool_runner:ToolRunner._remember:before:1",
]
ALL = [*(("home", point) for point in POINTS), *(("server", point) for point in ON_SERVER)]


@pytest.fixture(scope="module")
def found(in_memory: Path, request: pytest.FixtureRequest) -> Callable[[str, str], dict[str, Any]]:
    """What a killed process and the one after it came to at a point; runs are kept in the home, or on a server."""
    known: dict[str, dict[str, dict[str, Any]]] = {}

    def at(place: str, point: str) -> dict[str, Any]:
        if place not in known:
            folder, points = in_memory / place, POINTS if place == "home" else ON_SERVER
            command = [sys.executable, "-W", "ignore", "-m", "tests.faults.nested_desk", str(folder), *points]
            environment = {**os.environ, "SLUICEGATE_HOME": str(folder / "home")}
            if place == "server":
                environment["SLUICEGATE_DATABASE_URL"] = request.getfixturevalue("postgres_database")
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment, timeout=300
            )
            assert done.returncode == 0, done.stderr
            known[place] = {row["point"]: row for row in map(json.loads, done.stdout.splitlines())}
        return known[place][point]

    return at


@pytest.mark.parametrize(("place", "point"), ALL)
def test_after_a_kill_the_run_and_the_one_within_it_end_as_if_nothing_had_been(
    found: Callable[[str, str], dict[str, Any]], place: str, point: str
) -> None:
    row = found(place, point)
    assert row["killed"] == -signal.SIGKILL, "the point was never reached"
    assert row["status"] == 0
    run, left = row["found"], row["found"]["left"]
    assert run["status"] == "answered"
    assert run["way"] == ["gate", "kyc", "respond"]
    assert run["child"] == {"workflow": "kyc", "run": CHILD, "status": "answered"}
    assert run["childs_way"] == ["gate", "fields", "draft", "check", "approve", "act", "respond"]
    assert run["threads"] == [RUN, CHILD], "another run was begun within it"
    assert run["calls"] == ["done"]
    assert left["tickets"] == 1, "the tool's effect was repeated or lost"
    assert left["decisions"] == [[RUN, 1]], "the decision was lost, repeated or never marked as applied"
    assert left["audit_findings"] == []


@pytest.mark.parametrize(("place", "point"), ALL)
def test_after_a_kill_both_accounts_agree(found: Callable[[str, str], dict[str, Any]], place: str, point: str) -> None:
    run = found(place, point)["found"]
    left = run["left"]
    paid = left["calls"] * PRICE
    assert left["calls"] <= 3, "more than one node was repeated"
    for spent, held in zip(left["spent"], left["held"], strict=True):
        assert spent <= paid + 1e-9, "a call was counted twice"
        assert spent + held >= paid - 1e-9, "a call that was paid for is in no account"
        assert held <= PRICE + 1e-9, "more is held than the one call that was cut short"
    assert left["spent"][0] == pytest.approx(left["spent"][1]), "one account has what the other has not"
    assert run["spend"] == [2, 2], "the parent's own sum is not its child's"
