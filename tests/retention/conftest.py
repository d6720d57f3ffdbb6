"""A desk whose runs are in a home, and one whose runs are on a server."""

from pathlib import Path

import pytest

from tests.support.redacting import Desk


@pytest.fixture
def desk(each_place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path / "desk", monkeypatch)
