"""Every test: its own home, and no network but loopback."""

import ipaddress
import os
import socket
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


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
