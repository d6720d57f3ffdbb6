"""`kill -9` around a question to the requester and a timer: asked once, answered once, and the time comes once."""

import signal
from typing import Any

import pytest

from tests.faults.matrix import Matrix

pytestmark = pytest.mark.slow

CHECKPOINTS = "sluicegate.graphs.runtime.checkpoints:Checkpoints"
APPROVALS = "sluicegate.graphs.runtime.waiting.approvals:Approvals"
CONVERSATIONS = "sluicegate.graphs.conversations.turns:Conversations"
RUNNER = "sluicegate.graphs.runtime.run:Runner"
BOTH = ("before", "after")
POINTS = [
    # at the start and after each of eight nodes
    *(f"{CHECKPOINTS}.put:{when}:{count}" for count in range(1, 10) for when in BOTH),
    # a task's results are held back until its step ends; of those that are written, the question and the timer are two
    *(f"{CHECKPOINTS}.put_writes:{when}:{count}" for count in range(1, 10) for when in BOTH),
    # the answer, and that the time has come: recorded and not yet carried out, carried out and not yet noted
    *(f"{APPROVALS}.{method}:{when}:{count}" for method in ("claim", "applied") for count in (1, 2) for when in BOTH),
    *(f"{RUNNER}.{method}:{when}:1" for method in ("begin", "expire") for when in BOTH),
    *(f"{CONVERSATIONS}.{method}:{when}:1" for method in ("take_turn", "asking", "reopen") for when in BOTH),
    # over when it asks, when it waits, when it has ended
    *(f"{CONVERSATIONS}.over:{when}:{count}" for count in (1, 2, 3) for when in BOTH),
]


MATRIX = Matrix("asker", POINTS, POINTS[::5])


@pytest.mark.parametrize(("place", "point"), MATRIX.cases)
def test_after_a_kill_the_run_ends_as_if_nothing_had_been(found: dict[str, Any]) -> None:
    assert found["killed"] == -signal.SIGKILL, "the point was never reached"
    assert found["status"] == 0
    left = found["found"].pop("left")
    assert found["found"] == {
        "run": "asked",
        "status": "answered",
        "way": ["classify", "ask", "classify", "gate", "later", "answer", "check", "respond"],
        "request": "It does not start\nthe laptop",
        "replies": ["the laptop"],
    }
    # each decided once and carried out; the words are in the run alone
    assert left["decisions"] == [["ask", 1, False], ["later", 1, False]]
    assert [run for run, _ in left["turns"]] == ["asked"]
    assert left["waiting"] == []
