"""A knowledge folder, an embedder that needs no weights, and the two sides of an index."""

from pathlib import Path

import pytest

from sluicegate.retrieval.config import IndexConfig
from tests.support.knowledge import Desk, HashEmbedder


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    folder = tmp_path / "workflow"
    (folder / "knowledge").mkdir(parents=True)
    return Desk(folder, tmp_path / "indexes", IndexConfig(path=("knowledge",), minimum_score=0.0), HashEmbedder())
