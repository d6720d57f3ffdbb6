"""`kill -9` around what webhooks tell: of each thing at least once, under one id, and in its order."""

import signal
from typing import Any

import pytest

from tests.faults.matrix import Matrix

pytestmark = pytest.mark.slow

OUTBOX = "sluicegate.serving.webhooks.outbox:Outbox"
APPROVALS = "sluicegate.graphs.runtime.waiting.approvals:Approvals"
INTERRUPTS = "sluicegate.graphs.runtime.waiting.interrupts:Interrupts"
POINTS = [
    # the wait: recorded, written into the outbox, marked where it was recorded
    f"{OUTBOX}.add:before:1",
    f"{OUTBOX}.add:after:1",
    f"{INTERRUPTS}.announced:after:1",
    # claimed, sent, noted as done
    f"{OUTBOX}.claim:after:1",
    "sluicegate.serving.webhooks.worker:delivered:after:1",
    f"{OUTBOX}.done:after:1",
    # the decision
    f"{APPROVALS}.claim:after:1",
    f"{OUTBOX}.add:after:2",
    f"{APPROVALS}.announced:after:1",
]

MATRIX = Matrix("herald", POINTS, POINTS[1:8:4])


@pytest.mark.parametrize(("place", "point"), MATRIX.cases)
def test_after_a_kill_everything_is_told_under_one_id(found: dict[str, Any]) -> None:
    assert found["killed"] == -signal.SIGKILL, "the point was never reached"
    assert (found["status"], found["found"]) == (0, {"status": "answered"})
    once = list(dict.fromkeys(map(tuple, found["got"])))
    assert [kind for kind, _ in once] == ["approval.waiting", "approval.decided"]
    # only what was sent and not noted is sent again
    assert len(found["got"]) - len(once) <= 1
