"""A service that is killed or stopped, at work, with a queue and a decision on its way: nothing accepted is lost."""

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

RECOVERY = "sluicegate.serving.execution.recovery:Recovery"
RUNNER = "sluicegate.graphs.runtime.run:Runner"
APPROVALS = "sluicegate.graphs.runtime.waiting.approvals:Approvals"
SIGNALS = ["SIGKILL", "SIGTERM"]
"""With one run at work, one request that waits for its turn and one decision that does."""
POINTS = [
    *SIGNALS,
    # of the request that waits for its turn, the third that is accepted
    *(f"{RUNNER}.begin:{when}:3" for when in ("before", "after")),
    # of the decision
    f"{RECOVERY}.accept:after:4",
    *(f"{APPROVALS}.{method}:{when}:1" for method in ("claim", "applied") for when in ("before", "after")),
    # of the run at work
    *(f"{RECOVERY}.done:{when}:2" for when in ("before", "after")),
]
ON_SERVER = [*SIGNALS, f"{APPROVALS}.claim:after:1"]


@pytest.fixture(scope="module", params=["home", "server"])
def found(request: pytest.FixtureRequest, in_memory: Path) -> dict[str, dict[str, Any]]:
    """What a process and the one after it came to, by point; runs are kept in the home, or on a server."""
    folder = in_memory / f"service-{request.param}"
    points = POINTS if request.param == "home" else ON_SERVER
    command = [sys.executable, "-W", "ignore", "-m", "tests.faults.counter", str(folder), *points]
    environment = {**os.environ, "SLUICEGATE_HOME": str(folder / "home")}
    if request.param == "server":
        environment["SLUICEGATE_DATABASE_URL"] = request.getfixturevalue("postgres_database")
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return {row["point"]: row for row in map(json.loads, done.stdout.splitlines())}


def test_what_was_accepted_is_done_once_whatever_ended_its_process(found: dict[str, dict[str, Any]]) -> None:
    for point, row in found.items():
        # a stop is an orderly end, a kill is none; a point that is never reached ends in an orderly way too
        assert row["ended"] == (0 if point == "SIGTERM" else -signal.SIGKILL), point
        assert row["status"] == 0, point
        after = row["found"]
        assert not after["carried"], f"{point}: it takes too long"
        decided = bool(after["decisions"])
        for name, facts in after["found"].items():
            expected = "waiting" if name == "waits" and not decided else "answered"
            assert facts == [expected, expected, f"{name}-talk"], (point, name, facts)
        assert set(after["accepted"]) - {"decision"} <= set(after["found"]), f"{point}: an accepted run is lost"
        assert decided or "decision" not in after["accepted"], f"{point}: a decision is lost"
        assert after["decisions"] in ([], [1]), f"{point}: a decision was repeated, or never carried out"
        assert len(after["called"]) == 1, f"{point}: a tool was called twice, or not at all"
        assert after["same"], f"{point}: a retry is another run"
