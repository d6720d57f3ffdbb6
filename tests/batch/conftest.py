"""The model server of batches, and both engines. Ray is started once."""

import os
from collections.abc import Iterator

import pytest

from sluicegate.batch.engines.engine import Engine, LocalEngine
from tests.support.batching import SAYS
from tests.support.openai_server import OpenAiServer
from tests.support.s3 import s3, s3_server

__all__ = ["s3", "s3_server"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAiServer]:
    monkeypatch.setenv("OPENAI_API_KEY", "none-needed")
    with OpenAiServer() as running:
        running.says = SAYS
        yield running


@pytest.fixture(scope="session")
def ray_engine() -> Iterator[Engine]:
    from sluicegate.batch.engines.ray_engine import RayEngine

    # its processes import much, and without bytecode each of them compiles all of it
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    engine = RayEngine(2)
    yield engine
    engine.close()


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest) -> Engine:
    return LocalEngine() if request.param == "local" else request.getfixturevalue("ray_engine")
