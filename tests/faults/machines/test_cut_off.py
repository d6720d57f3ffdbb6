"""A machine that loses the database holds nothing for long, and waits for nothing for long."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.machines import network
from tests.support import ROOT

pytestmark = pytest.mark.slow


def test_both_ends_notice_within_seconds(in_memory: Path) -> None:
    if why := network.possible():
        pytest.skip(why)
    command = [sys.executable, "-W", "ignore", "-m", "tests.faults.machines.cut_off", str(in_memory / "cut")]
    # by TCP alone the machine would wait for a quarter of an hour, and the server for two hours
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=45)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "another machine goes on with the run",
        "the machine that is cut off stops: SG625",
    ]
