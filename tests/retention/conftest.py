"""A desk whose runs are in a home, and one whose runs are on a server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sluicegate.storage.postgres import server
from tests.support.redacting import Desk


@pytest.fixture(params=["home", "server"])
def desk(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    url = request.getfixturevalue("postgres") if request.param == "server" else ""
    if url:
        monkeypatch.setenv("SLUICEGATE_DATABASE_URL", url)
    yield Desk(tmp_path / "desk", monkeypatch)
    if url:
        server(url).close()
