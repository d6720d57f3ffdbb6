"""Artifacts fitted on made rows."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sluicegate.routing.intent.artifact import Artifact
from tests.support.made_rows import fitted_at


@pytest.fixture
async def lexical(tmp_path: Path) -> Artifact:
    return await fitted_at(tmp_path / "lexical", embeddings=False)


@pytest.fixture
async def joined(tmp_path: Path) -> Artifact:
    return await fitted_at(tmp_path / "joined", embeddings=True)


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    """Writes text to a file and gives its path."""

    def write(text: str, name: str = "rows.jsonl") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write
