"""A folder in memory: a killed process leaves the same in it as on a disk, and nothing waits for the disk."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

MEMORY = Path("/dev/shm")


@pytest.fixture(scope="module")
def in_memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty folder in memory, or on the disk where this machine has none that can be written."""
    if not (MEMORY.is_dir() and os.access(MEMORY, os.W_OK)):
        yield tmp_path_factory.mktemp("killed")
        return
    folder = Path(tempfile.mkdtemp(prefix="sluicegate-", dir=MEMORY))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def found(place: str, point: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """What a killed process and the one after it came to at a point of the module's `MATRIX`; runs are in the home,
    or on a server."""
    return request.module.MATRIX.at(place, point, request)
