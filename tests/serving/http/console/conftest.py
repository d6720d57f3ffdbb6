"""One home for each module of the console's tests, which a server lives in."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In the place of the one that each test has elsewhere: a module's server keeps its home."""
    folder = tmp_path_factory.mktemp("console") / "home"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SLUICEGATE_HOME", str(folder))
        patched.delenv("SLUICEGATE_DATABASE_URL", raising=False)
        yield folder
