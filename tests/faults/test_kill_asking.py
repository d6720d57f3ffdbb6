"""`kill -9` around a question to the requester and a timer: asked once, answered once, and the time comes once."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT

pytestmark = pytest.mark.slow

CHECKPOINTS = "sluicegate.graphs.runtime.checkpoints:Checkpoints"
APPROVALS = "sluicegate.graphs.runtime.approvals:Approvals"
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


@pytest.fixture(scope="module", params=["home", "server"])
def found(request: pytest.FixtureRequest, in_memory: Path) -> dict[str, dict[str, Any]]:
    """What a killed process and the one after it came to, by point; runs are kept in the home, or on a server."""
    folder = in_memory / f"asking-{request.param}"
    command = [sys.executable, "-W", "ignore", "-m", "tests.faults.asker", str(folder), *POINTS]
    environment = {**os.environ, "SLUICEGATE_HOME": str(folder / "home")}
    if request.param == "server":
        environment["SLUICEGATE_DATABASE_URL"] = request.getfixturevalue("postgres_database")
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return {row["point"]: row for row in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("point", POINTS)
def test_after_a_kill_the_run_ends_as_if_nothing_had_been(found: dict[str, dict[str, Any]], point: str) -> None:
    row = found[point]
    assert row["killed"] == -signal.SIGKILL, "the point was never reached"
    assert row["status"] == 0
    left = row["found"].pop("left")
    assert row["found"] == {
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
