"""`kill -9` at every write of an ingest: a reader finds the old index or the new one, whole, and an ingest mends it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.shelf import NEW, OLD
from tests.support import ROOT

pytestmark = pytest.mark.slow

TABLE = "sluicegate.retrieval.table"
CATALOG = "sluicegate.retrieval.catalog:Catalog"
POINTS = [
    *(f"{TABLE}:{step}:{when}:1" for step in ("add", "index") for when in ("before", "after")),
    *(f"{CATALOG}.keep_texts:{when}:{count}" for count in (1, 5) for when in ("before", "after")),
    *(f"{CATALOG}.{step}:{when}:1" for step in ("advance", "_put") for when in ("before", "after")),
    *(f"{TABLE}:tidy:{when}:1" for when in ("before", "after")),
]
UPDATES = [f"{TABLE}:{step}:{when}:1" for step in ("writable", "delete") for when in ("before", "after")]
CREATES = [f"{TABLE}:create:{when}:1" for when in ("before", "after")]
# inside LanceDB too, where no point can be named
TIMES = [f"after:{milliseconds}" for milliseconds in (5, 15, 30, 50, 75, 100, 140, 190, 250, 330)]
CASES = [
    *(f"update {point}" for point in (*POINTS, *UPDATES, *TIMES)),
    *(f"first {point}" for point in (*POINTS, *CREATES)),
    *(f"rebuild {point}" for point in (*POINTS[-6:], *CREATES, *TIMES[::3])),
]
_COMPLETE = (f"{CATALOG}.advance:after", f"{TABLE}:tidy")
"""From here on the new index is the index."""


@pytest.fixture(scope="module")
def left(in_memory: Path) -> dict[str, dict[str, Any]]:
    """What a killed ingest left behind, by case."""
    folder = in_memory
    command = [sys.executable, "-W", "ignore", "-m", "tests.faults.shelf", str(folder), *CASES]
    environment = {**os.environ, "SLUICEGATE_HOME": str(folder / "home")}
    root = ROOT
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root, env=environment, timeout=500)
    assert done.returncode == 0, done.stderr
    return {row["case"]: row for row in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("case", CASES)
def test_after_a_kill_the_index_is_the_old_one_or_the_new_one(left: dict[str, dict[str, Any]], case: str) -> None:
    row = left[case]
    mode, point = case.split(" ")
    timed = point.startswith("after:")
    assert row["killed"] == -signal.SIGKILL or (timed and row["killed"] == 0), "the point was never reached"
    assert row["status"] == 0
    before: Any = "SG401" if mode == "first" else OLD
    if timed:
        assert row["found"]["reader"] in (before, NEW)
    else:
        assert row["found"]["reader"] == (NEW if point.startswith(_COMPLETE) else before)
    assert row["found"]["then"] == NEW, "the next ingest did not end what was begun"
    assert row["found"]["tables"] == 1, "what was begun was not tidied away"
