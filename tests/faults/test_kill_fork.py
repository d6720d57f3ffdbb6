"""`kill -9` in branches that run side by side: before the fork, in a branch, between two, at the join and after it."""

import signal
from typing import Any

import pytest

from tests.faults.desk import PRICE
from tests.faults.matrix import Matrix

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
MATRIX = Matrix("fork_desk", POINTS, ON_SERVER)


@pytest.mark.parametrize(("place", "point"), MATRIX.cases)
def test_after_a_kill_both_branches_have_been_run_once(found: dict[str, Any]) -> None:
    assert found["killed"] == -signal.SIGKILL, "the point was never reached"
    assert found["status"] == 0
    run, left = found["found"], found["found"]["left"]
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
    # a repeated call takes the place of one that was cut before it was settled, which may be one in each branch
    assert left["spent"] + left["held"] >= paid - 2 * PRICE - 1e-9, "a call that was settled is in no account"
    assert left["held"] <= 2 * PRICE + 1e-9, "more is held than the calls that were cut short"
