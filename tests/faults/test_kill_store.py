"""`kill -9` within an ingest into a store: readers have the old version or the new one, and the next ingest goes on.

All points on a shared folder; what S3 does otherwise is in `tests/retrieval/stores`.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.depot import NEW, OLD
from tests.support import ROOT

pytestmark = pytest.mark.slow

STORES = "sluicegate.retrieval.stores"
VERSIONS = f"{STORES}.versions:StoredVersions"
POINTS = [
    f"{STORES}.lease:_acquired:after:1",
    f"{VERSIONS}.fence:after:1",
    f"{STORES}.replica:Replica.fill:after:1",
    "sluicegate.retrieval.catalog:Catalog.advance:after:1",
    "sluicegate.retrieval.table:purge:after:1",
    f"{VERSIONS}.add:before:1",
    f"{VERSIONS}.add:after:2",
    f"{VERSIONS}.publish:before:1",
    # the first moves the fence, the second the version
    f"{VERSIONS}._moved:before:2",
    f"{VERSIONS}._moved:after:2",
    f"{STORES}.replica:Replica.adopt:after:1",
    f"{VERSIONS}.sweep:before:1",
    f"{VERSIONS}.sweep:after:1",
    f"{STORES}.lease:_release:before:1",
]
FIRST = [point for point in POINTS if "fill" not in point]
CASES = [*(f"update {point}" for point in POINTS), *(f"first {point}" for point in FIRST[::3])]
_COMPLETE = (
    f"{VERSIONS}._moved:after:2",
    f"{STORES}.replica:Replica.adopt",
    f"{VERSIONS}.sweep",
    f"{STORES}.lease:_rel",
)
"""From here on the new version serves."""


@pytest.fixture(scope="module")
def left(in_memory: Path) -> dict[str, dict[str, Any]]:
    """What a killed ingest left behind, by case."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.faults.depot", str(in_memory), *CASES],
        capture_output=True, text=True, check=False, cwd=ROOT, env=dict(os.environ), timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {row["case"]: row for row in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("case", CASES)
def test_after_a_kill_the_version_is_the_old_one_or_the_new_one(left: dict[str, dict[str, Any]], case: str) -> None:
    row = left[case]
    mode, point = case.split(" ")
    assert row["killed"] == -signal.SIGKILL, "the point was never reached"
    assert row["status"] == 0
    before: Any = "SG401" if mode == "first" else OLD
    assert row["found"]["reader"] == (NEW if point.startswith(_COMPLETE) else before)
    assert row["found"]["then"] == NEW, "the next ingest did not end what was begun"
    assert row["found"]["left"] == 0, "what was begun was not removed"
