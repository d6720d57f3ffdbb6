from collections.abc import Iterator

import pytest

from tests.support.ollama_server import Faults, OllamaServer


@pytest.fixture(scope="session")
def _shared_server() -> Iterator[OllamaServer]:
    with OllamaServer() as server:
        yield server


@pytest.fixture
def server(_shared_server: OllamaServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[OllamaServer]:
    """The loopback server without faults, as `OLLAMA_HOST`."""
    monkeypatch.setenv("OLLAMA_HOST", _shared_server.url)
    _shared_server.requests.clear()
    _shared_server.options.clear()
    models = dict(_shared_server.models)
    yield _shared_server
    _shared_server.faults = Faults()
    _shared_server.about.clear()
    _shared_server.models = models
