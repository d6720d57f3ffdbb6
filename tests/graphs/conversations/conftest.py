"""A desk that holds conversations, its runs in a home and on a server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sluicegate.storage.postgres import server
from tests.support.redacting import WORKFLOW, Desk


@pytest.fixture(params=["home", "server"])
def desk(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    url = request.getfixturevalue("postgres") if request.param == "server" else ""
    if url:
        monkeypatch.setenv("SLUICEGATE_DATABASE_URL", url)
    made = Desk(tmp_path / "desk", monkeypatch)
    made.file.write_text(WORKFLOW + "conversation: {turns: 3, ttl: 30d}\n", encoding="utf-8")
    yield made
    if url:
        server(url).close()
