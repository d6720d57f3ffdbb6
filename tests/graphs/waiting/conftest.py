"""A desk that asks back, its runs in a home and on a server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sluicegate.storage.postgres import server
from tests.support.asking import asking_desk
from tests.support.redacting import Desk


@pytest.fixture(params=["home", "server"])
def desk(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    url = request.getfixturevalue("postgres") if request.param == "server" else ""
    if url:
        monkeypatch.setenv("SLUICEGATE_DATABASE_URL", url)
    yield asking_desk(tmp_path / "desk", monkeypatch)
    if url:
        server(url).close()
