"""One real provider for all tests of sign-on, and one home for each of their modules, which a server lives in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.identity_provider import RealProvider, running


@pytest.fixture(scope="session")
def provider() -> Iterator[RealProvider]:
    with running() as found:
        yield found


@pytest.fixture(scope="module", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In the place of the one that each test has elsewhere."""
    folder = tmp_path_factory.mktemp("sign-on") / "home"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SLUICEGATE_HOME", str(folder))
        patched.delenv("SLUICEGATE_DATABASE_URL", raising=False)
        yield folder
