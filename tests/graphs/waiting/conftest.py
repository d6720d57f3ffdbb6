"""A desk that asks back, its runs in a home and on a server."""

from pathlib import Path

import pytest

from tests.support.asking import asking_desk
from tests.support.redacting import Desk


@pytest.fixture
def desk(each_place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return asking_desk(tmp_path / "desk", monkeypatch)
