"""A desk that holds conversations, its runs in a home and on a server."""

from pathlib import Path

import pytest

from tests.support.redacting import WORKFLOW, Desk


@pytest.fixture
def desk(each_place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    made = Desk(tmp_path / "desk", monkeypatch)
    made.file.write_text(WORKFLOW + "conversation: {turns: 3, ttl: 30d}\n", encoding="utf-8")
    return made
