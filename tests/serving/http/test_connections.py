"""Connections that bring no request: how long they are heard, and what they are told."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest

from sluicegate.serving.http import connections
from tests.support.stand import served


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    patched = pytest.MonkeyPatch()
    patched.setenv("SLUICEGATE_HOME", str(tmp_path_factory.mktemp("home")))
    patched.setattr(connections, "HEAD_S", 0.5)
    with served() as client:
        yield client
    patched.undo()


def connection(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=10)


def said(given: socket.socket) -> tuple[int, dict[str, str]]:
    """What comes until the server hangs up."""
    parts: list[bytes] = []
    while part := given.recv(65536):
        parts.append(part)
    head, _, body = b"".join(parts).partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize("begun", [b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: "])
def test_a_head_that_does_not_come_ends_the_connection(client: httpx.Client, begun: bytes) -> None:
    with connection(client) as slow:
        slow.sendall(begun)
        status, problem = said(slow)
        assert (status, problem["code"]) == (408, "SG622")


def test_bytes_that_trickle_in_buy_no_time(client: httpx.Client) -> None:
    with connection(client) as slow:
        slow.settimeout(0.05)
        told = b""
        # if each byte bought time, this would not end
        while not told:
            slow.sendall(b"G")
            with suppress(TimeoutError):
                told = slow.recv(100)
        assert told.startswith(b"HTTP/1.1 408")


def test_a_request_that_takes_longer_than_its_head_may_is_answered(client: httpx.Client) -> None:
    answer = client.post("/v1/runs", json={"text": "wait 1.2"})
    assert answer.json()["status"] == "answered"
    # and the connection lives on
    time.sleep(0.8)
    assert client.get("/healthz").status_code == 200


def test_what_is_no_http_is_told_so_as_a_problem(client: httpx.Client) -> None:
    with connection(client) as odd:
        odd.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert said(odd)[0] == 400
