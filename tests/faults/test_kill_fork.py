"""`kill -9` in branches that run side by side: before the fork, in a branch, between two, at the join and after it."""

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
from tests.support import ROOT

pytestmark = pytest.mark.slow

CHECKPOINTS = "sluicegate.graphs.runtime.checkpoints:Checkpoints"
LEDGER = "sluicegate.policies.ledger.ledger:BudgetLedger"
FORK = "sluicegate.graphs.runtime.steps.fork_run:ForkRun"
TOOLS = "sluicegate.nodes.tools.tool_runner:ToolRunner"
POINTS = [
    # of the run 8, of its branches 3 and 4
    *(f"{CHECKPOINTS}.put:before:{count}" for count in range(1, 16)),
    *(f"{CHECKPOINTS}.put:after:{count}" for count in (5, 8, 11, 15)),
    *(f"{CHECKPOINTS}.put_writes:{when}:{count}" for count in range(1, 13, 2) for when in ("before", "after")),
    # a branch has come to its end, its sibling may not have; then the other one
    *(f"{FORK}._among_siblings:{when}:{count}" for count in (1, 2) for when in ("before", "after")),
    *(f"{LEDGER}.{method}:{when}:{count}" for method in ("reserve", "settle") for count in (1, 2)
      for when in ("before", "after")),
    *(f"tests.faults.desk:PaidModels.chat:after:{count}" for count in (1, 2)),
    *(f"{TOOLS}.call:{when}:1" for when in ("before", "after")),
    f"{TOOLS}._remember:before:1",
    "sluicegate.graphs.runtime.steps.fork_run:merged:before:1",
    "sluicegate.graphs.runtime.steps.fork_run:merged:after:1",
]  # fmt: skip
ON_SERVER = [
    *(f"{CHECKPOINTS}.put:before:{count}" for count in (4, 6, 8, 10, 12)),
    f"{FORK}._among_siblings:after:1",
    f"{LEDGER}.settle:after:1",
    f"{TOOLS}._remember:before:1",
    "sluicegate.graphs.runtime.steps.fork_run:merged:after:1",
]
ALL = [*(("home", point) for point in POINTS), *(("server", point) for point in ON_SERVER)]


@pytest.fixture(scope="module")
def found(in_memory: Path, request: pytest.FixtureRequest) -> Callable[[str, str], dict[str, Any]]:
    """What a killed process and the one after it came to at a point; runs are kept in the home, or on a server."""
    known: dict[str, dict[str, dict[str, Any]]] = {}

    def at(place: str, point: str) -> dict[str, Any]:
        if place not in known:
            folder, points = in_memory / f"fork-{place}", POINTS if place == "home" else ON_SERVER
            command = [sys.executable, "-W", "ignore", "-m", "tests.faults.fork_desk", str(folder), *points]
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
def test_after_a_kill_both_branches_have_been_run_once(
    found: Callable[[str, str], dict[str, Any]], place: str, point: str
) -> None:
    row = found(place, point)
    assert row["killed"] == -signal.SIGKILL, "the point was never reached"
    assert row["status"] == 0
    run, left = row["found"], row["found"]["left"]
    assert run["status"] == "answered"
    assert run["way"] == ["gate", "both", "draft", "fields", "act", "check", "respond"]
    assert run["visits"] == dict.fromkeys(run["way"], 1)
    assert run["calls"] == ["done"]
    assert run["slm_calls"] == 2
    assert left["tickets"] == 1, "the tool's effect was repeated or lost"
    assert left["audit_findings"] == []
    paid = left["calls"] * PRICE
    assert left["calls"] <= 4, "more than one node of each branch was repeated"
    assert left["spent"] <= paid + 1e-9, "a call was counted twice"
    assert left["spent"] + left["held"] >= paid - 1e-9, "a call that was paid for is in no account"
    assert left["held"] <= 2 * PRICE + 1e-9, "more is held than the calls that were cut short"
