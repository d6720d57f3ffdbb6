"""`kill -9` in the middle of a list: what is done is not done again, and one poisoned item loses no other."""

import signal
from typing import Any

import pytest

from tests.faults.desk import PRICE
from tests.faults.matrix import Matrix

pytestmark = pytest.mark.slow

CHECKPOINTS = "sluicegate.graphs.runtime.checkpoints:Checkpoints"
AUDIT = "sluicegate.observe.audit.log:AuditLog"
LEDGER = "sluicegate.policies.ledger.ledger:BudgetLedger"
TOOLS = "sluicegate.nodes.tools.tool_runner:ToolRunner"
WHEN = ("before", "after")
POINTS = [
    # at the start, after the gate, after the list has begun, after the items, after the list, at the end
    *(f"{CHECKPOINTS}.put:{when}:{count}" for count in range(1, 7) for when in WHEN),
    # as each item ends
    *(f"{CHECKPOINTS}.put_writes:{when}:{count}" for count in (1, 2, 4, 6, 7) for when in WHEN),
    # in the middle of each item that is not poisoned
    *(f"__main__:PaidModels.chat:{when}:{count}" for count in (1, 2, 4) for when in WHEN),
    *(f"{LEDGER}.{method}:{when}:2" for method in ("reserve", "settle") for when in WHEN),
    *(f"{TOOLS}.call:{when}:{count}" for count in (1, 2, 3) for when in WHEN),
    # the ticket is there, our memory of it is not
    *(f"{TOOLS}._remember:before:{count}" for count in (1, 2, 3)),
    *(f"{AUDIT}._write:{when}:{count}" for count in (2,) for when in WHEN),
]


MATRIX = Matrix("positions", POINTS, POINTS[::5])


@pytest.mark.parametrize(("place", "point"), MATRIX.cases)
def test_after_a_kill_every_item_is_done_once(found: dict[str, Any]) -> None:
    assert found["killed"] == -signal.SIGKILL, "the point was never reached"
    assert found["status"] == 0
    run, left = found["found"], found["found"]["left"]
    assert (run["status"], run["way"]) == ("answered", ["gate", "each", "respond"])
    assert run["done"] == {"0": "Beamer for 1.12", "1": "Beamer for 1.12", "3": "Desk for 2.07"}
    assert run["failed"] == [[2, "SG305"]]
    assert run["within"] == [["assess", "order"], ["assess", "order"], ["assess"], ["assess", "order"]]
    titles = [title for title, _ in left["tickets"]]
    assert titles == ["Beamer for 1.12", "Beamer for 1.12", "Desk for 2.07"], "an effect was repeated or lost"
    assert sorted(run["keys"]) == sorted(key for _, key in left["tickets"])
    assert left["audit_findings"] == []


@pytest.mark.parametrize(("place", "point"), MATRIX.cases)
def test_after_a_kill_no_more_than_the_items_under_way_is_done_again(found: dict[str, Any]) -> None:
    left = found["found"]["left"]
    calls = sum(left["calls"].values())
    # one at a time: the one under way, and the one that has just ended
    assert calls <= 3 + 2
    assert max(left["calls"].values()) <= 2
    assert left["spent"] <= calls * PRICE + 1e-9, "a call was counted twice"
    # a repeated call takes the place of one that was cut before it was settled
    cut = 1
    assert left["spent"] + left["held"] >= (calls - cut) * PRICE - 1e-9, "a call that was settled is in no account"
