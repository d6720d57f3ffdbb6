"""Machines that are killed, paused, cut off, filled up and set wrong while they share one database: what they accepted
is done, once, within the budget, and the audit log verifies.

A small sample of faults by default; `make test-machines` plays 300.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.machines import network
from tests.support import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

FAULTS = 300 if os.environ.get("SLUICEGATE_TEST_ALL_KILLS") else 6
SEED = int(os.environ.get("SLUICEGATE_TEST_SEED", "1"))


@pytest.fixture(scope="module")
def tally(in_memory: Path) -> dict[str, Any]:
    if why := network.possible():
        pytest.skip(why)
    command = [sys.executable, "-W", "ignore", "-m", "tests.faults.machines.campaign", str(in_memory / "campaign")]
    done = subprocess.run(
        [*command, "--faults", str(FAULTS), "--seed", str(SEED)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    # for whoever plays many
    print(done.stdout)
    return json.loads(done.stdout)


def test_no_promise_is_broken(tally: dict[str, Any]) -> None:
    assert sum(tally["faults"].values()) == FAULTS
    assert {what: cases for what, cases in tally["broken"].items() if cases} == {}
    assert tally["accepted"] >= FAULTS, "there was hardly anything to lose"


def test_who_is_killed_repeats_only_what_was_in_flight(tally: dict[str, Any]) -> None:
    assert tally["model calls repeated"] <= 16 * (FAULTS + tally["deaths by poison and disk"])
