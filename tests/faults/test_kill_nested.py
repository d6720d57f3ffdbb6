"""`kill -9` on both sides of the boundary of a run within another one: before it starts, in it, while it waits for a
person, and when it has ended and its parent does not know it yet.
"""

import signal
from typing import Any

import pytest

from tests.faults.desk import PRICE
from tests.faults.matrix import Matrix
from tests.faults.nested_desk import CHILD, RUN

pytestmark = pytest.mark.slow

CHECKPOINTS = "sluicegate.graphs.runtime.checkpoints:Checkpoints"
APPROVALS = "sluicegate.graphs.runtime.waiting.approvals:Approvals"
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
MATRIX = Matrix("nested_desk", POINTS, ON_SERVER)


@pytest.mark.parametrize(("place", "point"), MATRIX.cases)
def test_after_a_kill_the_run_and_the_one_within_it_end_as_if_nothing_had_been(found: dict[str, Any]) -> None:
    assert found["killed"] == -signal.SIGKILL, "the point was never reached"
    assert found["status"] == 0
    run, left = found["found"], found["found"]["left"]
    assert run["status"] == "answered"
    assert run["way"] == ["gate", "kyc", "respond"]
    assert run["child"] == {"workflow": "kyc", "run": CHILD, "status": "answered"}
    assert run["childs_way"] == ["gate", "fields", "draft", "check", "approve", "act", "respond"]
    assert run["threads"] == [RUN, CHILD], "another run was begun within it"
    assert run["calls"] == ["done"]
    assert left["tickets"] == 1, "the tool's effect was repeated or lost"
    assert left["decisions"] == [[RUN, 1]], "the decision was lost, repeated or never marked as applied"
    assert left["audit_findings"] == []


@pytest.mark.parametrize(("place", "point"), MATRIX.cases)
def test_after_a_kill_both_accounts_agree(found: dict[str, Any]) -> None:
    run = found["found"]
    left = run["left"]
    paid = left["calls"] * PRICE
    assert left["calls"] <= 3, "more than one node was repeated"
    for spent, held in zip(left["spent"], left["held"], strict=True):
        assert spent <= paid + 1e-9, "a call was counted twice"
        assert spent + held >= paid - 1e-9, "a call that was paid for is in no account"
        assert held <= PRICE + 1e-9, "more is held than the one call that was cut short"
    assert left["spent"][0] == pytest.approx(left["spent"][1]), "one account has what the other has not"
    assert run["spend"] == [2, 2], "the parent's own sum is not its child's"
