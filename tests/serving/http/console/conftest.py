"""One Chromium for all tests of the console, and one home for each of their modules, which a server lives in."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.support.browser import chromium


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest.fixture(scope="module", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In the place of the one that each test has elsewhere: a module's server keeps its home."""
    folder = tmp_path_factory.mktemp("console") / "home"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SLUICEGATE_HOME", str(folder))
        patched.delenv("SLUICEGATE_DATABASE_URL", raising=False)
        yield folder
