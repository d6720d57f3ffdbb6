"""A store of each kind: a prefix of a real S3 server's bucket, and a folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.machines import Site
from tests.support.s3 import BUCKET, S3Server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The session's server, which this process is told of; for tests that leave it running."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture(params=["s3", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "shared")
    request.getfixturevalue("s3")
    return f"s3://{BUCKET}"


@pytest.fixture
def site(tmp_path: Path, store: str) -> Site:
    return Site(tmp_path / "site", store)
