"""A store of each kind: a prefix of a real S3 server's bucket, and a folder."""

from pathlib import Path

import pytest

from tests.support.machines import Site
from tests.support.s3 import BUCKET, s3, s3_server

__all__ = ["s3", "s3_server"]


@pytest.fixture(params=["s3", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "shared")
    request.getfixturevalue("s3")
    return f"s3://{BUCKET}"


@pytest.fixture
def site(tmp_path: Path, store: str) -> Site:
    return Site(tmp_path / "site", store)
