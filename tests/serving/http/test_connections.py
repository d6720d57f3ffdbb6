"""Connections that bring no request: how long they are heard, and what they are told."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import httpx
import pytest

from sluicegate import Limits
from sluicegate.serving.http import connections, server
from tests.support.stand import served, service


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
    # where something was sent after the server had hung up, the end is a reset
    with suppress(ConnectionResetError):
        while part := given.recv(65536):
            parts.append(part)
    head, _, body = b"".join(parts).partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    return int(head.split()[1]), json.loads(body)


@pytest.mark.slow
@pytest.mark.parametrize("begun", [b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: "])
def test_a_head_that_does_not_come_ends_the_connection(client: httpx.Client, begun: bytes) -> None:
    with connection(client) as slow:
        slow.sendall(begun)
        status, problem = said(slow)
        assert (status, problem["code"]) == (408, "SG622")


@pytest.mark.slow
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


@pytest.mark.slow
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


# --- more connections than there may be ---

HALF = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "
WHOLE = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
UPLOAD = (
    b"POST /v1/runs HTTP/1.1\r\nHost: 127.0.0.1\r\nx-user: ann\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n"
)


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A server for ten connections, of which none is late before the test is over."""
    monkeypatch.setattr(connections, "HEAD_S", 600.0)
    monkeypatch.setattr(connections, "FIRST_S", 0.0)
    with served(service(limits=Limits(drain_s=0)), connections=10) as client:
        yield client


@pytest.fixture
def begun(crowded: httpx.Client) -> Iterator[Callable[[bytes, int], list[socket.socket]]]:
    """So many more connections on which this has been sent."""
    opened: list[socket.socket] = []

    def begin(sent: bytes, count: int) -> list[socket.socket]:
        for _ in range(count):
            opened.append(connection(crowded))
            with suppress(ConnectionError):
                opened[-1].sendall(sent)
        return opened[-count:]

    yield begin
    for each in opened:
        each.close()


Begun = Callable[[bytes, int], list[socket.socket]]


def status(given: socket.socket) -> int:
    """Of the answer that begins here."""
    return int(given.recv(65536).split()[1])


def silent(given: socket.socket) -> bool:
    """Whether nothing has come yet, not even an end."""
    given.setblocking(False)
    try:
        given.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    finally:
        given.settimeout(10)
    return False


@pytest.mark.slow
def test_half_sent_heads_keep_nobody_out_and_the_oldest_go_first(begun: Begun) -> None:
    slow = begun(HALF, 40)
    for _ in range(3):
        (probe,) = begun(WHOLE, 1)
        assert status(probe) == 200
        probe.close()
    assert [said(each)[0] for each in slow[:30]] == [503] * 30
    # the last one was in nobody's way, and the rest of its request can still come
    last = slow[-1]
    assert silent(last)
    last.sendall(b"no more\r\n\r\n")
    assert status(last) == 200


@pytest.mark.slow
def test_unfinished_bodies_go_after_unfinished_heads(begun: Begun, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = begun(UPLOAD % 20 + b"{", 5)
    heads = begun(HALF, 10)
    (probe,) = begun(WHOLE, 1)
    assert status(probe) == 200
    assert [said(each)[0] for each in heads[:5]] == [503] * 5
    assert all(silent(each) for each in bodies)
    # those that have just been opened may be about to send all of it
    monkeypatch.setattr(connections, "FIRST_S", 600.0)
    young = begun(b"", 5)
    assert [said(each)[0] for each in bodies] == [503] * 5
    young[-1].sendall(WHOLE)
    assert status(young[-1]) == 200


@pytest.mark.slow
def test_where_all_are_at_work_requests_are_turned_away_and_probes_answered(begun: Begun) -> None:
    body = b'{"text": "hold", "stream": true}'
    request = UPLOAD % len(body) + body
    at_work = [*begun(request, 8), *begun(request.replace(b"ann", b"ben"), 1)]
    assert [status(each) for each in at_work] == [200] * 9
    for path, expected in ((b"/healthz", 200), (b"/readyz", 200), (b"/openapi.json", 503)):
        (probe,) = begun(WHOLE.replace(b"/healthz", path), 1)
        assert status(probe) == expected
        probe.close()


def test_a_server_has_no_more_connections_than_half_the_files_it_may_open(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    for files, most in ((256, 128), (1024, 512), (65536, 1000), (resource.RLIM_INFINITY, 1000)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))
        assert server._most() == most


# --- framing ---


@pytest.mark.parametrize(
    "framing",
    [
        b"HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        b"HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: Chunked\r\nContent-Length: 4\r\n",
        b"HTTP/1.0\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n",
    ],
)
def test_a_body_of_ambiguous_length_is_refused_and_nothing_after_it_is_read(
    client: httpx.Client, framing: bytes
) -> None:
    smuggled = b"POST /v1/runs " + framing + b"x-user: ann\r\n\r\n0\r\n\r\n" + WHOLE
    with connection(client) as odd:
        odd.sendall(smuggled)
        # one answer, then the end
        assert said(odd)[0] == 400
