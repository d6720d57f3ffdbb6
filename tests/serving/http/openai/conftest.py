"""A served workflow with conversations, and the SDK's client of it."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.support import stand
from tests.support.openai_clients import conversational, sdk


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[httpx.Client]:
    with stand.served(stand.service(conversational(tmp_path / "flow"))) as plain:
        yield plain


@pytest.fixture
def ai(plain: httpx.Client) -> Iterator[openai.OpenAI]:
    with sdk(plain) as ai:
        yield ai
