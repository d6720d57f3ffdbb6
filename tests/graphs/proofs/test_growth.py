"""What checking takes grows as the workflow does."""

import gc
import sys
from pathlib import Path
from typing import Any

import pytest

from sluicegate.graphs.config.load import inspect
from tests.support.long_workflow import long_workflow


def calls(file: Path, nodes: int) -> int:
    """How many functions are called while a file is checked, counting each resumption of a generator."""
    count = 0

    def called(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    # what a collection calls is of the tests before
    gc.disable()
    sys.setprofile(called)
    try:
        workflow, problems = inspect(file)
    finally:
        sys.setprofile(before)
        gc.enable()
    assert problems == []
    assert workflow is not None
    assert len(workflow.flow.nodes) == nodes
    return count


@pytest.mark.slow
def test_work_is_linear_in_the_nodes_of_forks_items_and_children(tmp_path: Path) -> None:
    calls(long_workflow(tmp_path / "first", 1), 18)  # what is read or imported once
    few, twice, four_times = (calls(long_workflow(tmp_path / f"{size}", size), 12 * size + 6) for size in (3, 6, 12))
    assert four_times - twice < 2.1 * (twice - few)
