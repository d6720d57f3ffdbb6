"""`kill -9` at every node boundary and inside every service that writes: nothing is lost, repeated or counted twice."""

import signal
from typing import Any

import pytest

from tests.faults.desk import PRICE, REQUESTS
from tests.faults.matrix import Matrix

pytestmark = pytest.mark.slow

CHECKPOINTS = "sluicegate.graphs.runtime.checkpoints:Checkpoints"
AUDIT = "sluicegate.observe.audit.log:AuditLog"
LEDGER = "sluicegate.policies.ledger.ledger:BudgetLedger"
APPROVALS = "sluicegate.graphs.runtime.waiting.approvals:Approvals"
CONVERSATIONS = "sluicegate.graphs.conversations.turns:Conversations"
INSIDE = [
    *(f"{LEDGER}.{method}" for method in ("reserve", "settle")),
    *(f"{APPROVALS}.{method}" for method in ("claim", "applied")),
    *(f"{AUDIT}.{method}" for method in ("_write", "_put_head")),
    *(f"{CONVERSATIONS}.{method}" for method in ("take_turn", "over")),
    "sluicegate.graphs.runtime.run:Runner.begin",
    "sluicegate.policies.cache.cache:AnswerStore.put",
    "sluicegate.nodes.tools.tool_runner:ToolRunner.call",
    "__main__:PaidModels.chat",
]
POINTS = [
    # a checkpoint at the start and after each node: the risky run has 7, with the plain one's 8 after them
    *(f"{CHECKPOINTS}.put:{when}:{count}" for count in range(1, 16) for when in ("before", "after")),
    *(f"{CHECKPOINTS}.put_writes:{when}:{count}" for count in range(1, 13, 3) for when in ("before", "after")),
    *(f"{method}:{when}:1" for method in INSIDE for when in ("before", "after")),
    # the second call of these is the answer's, in the other run
    *(f"{LEDGER}.{method}:{when}:2" for method in ("reserve", "settle") for when in ("before", "after")),
    # the second turn of the conversation; the first one is over twice, before its approval and after it
    *(f"{CONVERSATIONS}.take_turn:{when}:2" for when in ("before", "after")),
    *(f"{CONVERSATIONS}.over:{when}:{count}" for count in (2, 3) for when in ("before", "after")),
    # the ticket is there, our memory of it is not
    "sluicegate.nodes.tools.tool_runner:ToolRunner._remember:before:1",
    # the ticket desk before it has written
    "sluicegate.nodes.tools.example_tickets:connect:after:1",
]


MATRIX = Matrix("desk", POINTS, POINTS[::3])


@pytest.mark.parametrize(("place", "point"), MATRIX.cases)
def test_after_a_kill_both_runs_end_as_if_nothing_had_been(found: dict[str, Any]) -> None:
    assert found["killed"] == -signal.SIGKILL, "the point was never reached"
    assert found["status"] == 0
    runs, left = found["found"], found["found"]["left"]
    assert runs["risky"] == {
        "status": "answered",
        "way": ["classify", "gate", "fields", "act", "approve", "respond"],
        "knows": [],
    }
    assert runs["plain"] == {
        "status": "answered",
        "way": ["classify", "gate", "recall", "facts", "answer", "check", "respond"],
        "knows": [REQUESTS["risky"]],
    }
    assert left["turns"] == [[1, "risky"], [2, "plain"]]
    assert left["tickets"] == 1, "the tool's effect was repeated or lost"
    assert left["decisions"] == [1], "the decision was lost, repeated or never marked as applied"
    assert left["cached"] == 1
    assert left["audit_findings"] == []
    assert left["audit_records"] >= 13


@pytest.mark.parametrize(("place", "point"), MATRIX.cases)
def test_after_a_kill_no_money_is_lost_or_counted_twice(found: dict[str, Any]) -> None:
    left = found["found"]["left"]
    paid = left["calls"] * PRICE
    assert left["spent"] <= paid + 1e-9, "a call was counted twice"
    assert left["spent"] + left["held"] >= paid - 1e-9, "a call that was paid for is in no account"
    assert left["held"] <= PRICE + 1e-9, "more is held than the one call that was cut short"
    assert left["calls"] <= 3, "more than one node was repeated"
