"""One attempt: signed by the specification, to the address that was checked, bounded, and following nothing."""

import asyncio
import base64
import hmac
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sluicegate.serving.webhooks import sending
from sluicegate.serving.webhooks.config import Destination, read_webhooks
from sluicegate.serving.webhooks.sending import Answer, send
from sluicegate.serving.webhooks.signing import headers, key_of, new_secret
from tests.support.hooks import SECRET, Clock, Hooks, hooks_file
from tests.support.loopback import free_port


def destination(folder: Path, url: str, **settings: Any) -> Destination:
    return read_webhooks(hooks_file(folder, url, **settings)).destinations["ops"]


def sent(to: Destination, body: bytes = b"{}") -> Answer:
    return asyncio.run(send(to, body, {"webhook-id": "evt_1"}, now=Clock()))


def test_a_signature_is_that_of_the_specification() -> None:
    # the example of standardwebhooks.com's reference libraries
    made = headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', [key_of(SECRET)])
    assert made["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert made["webhook-timestamp"] == "1614265330"


def test_during_a_rotation_there_is_a_signature_of_each_secret() -> None:
    old, new = key_of(SECRET), key_of(new_secret())
    marks = headers("evt_1", 1, b"{}", [new, old])["webhook-signature"].split()
    expected = [base64.b64encode(hmac.digest(key, b"evt_1.1.{}", "sha256")).decode() for key in (new, old)]
    assert marks == [f"v1,{each}" for each in expected]
    assert "webhook-signature" not in headers("evt_1", 1, b"{}", [])


@pytest.mark.parametrize("secret", ["whsec_", "whsec_AAAA", "not base64!", "whsec_" + "A" * 120])
def test_what_is_no_secret(secret: str) -> None:
    with pytest.raises(ValueError, match="base64"):
        key_of(secret)


def test_a_message_arrives_as_it_was_made(tmp_path: Path) -> None:
    with Hooks() as hooks:
        assert sent(destination(tmp_path, hooks.url + "/in?x=1"), b'{"a": 1}') == Answer(200)
    (got,) = hooks.got
    assert (got.path, got.body, got.id) == ("/in?x=1", b'{"a": 1}', "evt_1")
    assert got.headers["host"] == hooks.url.removeprefix("http://")
    assert got.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("status", "more", "expected"),
    [
        (204, {}, Answer(204)),
        (500, {}, Answer(500, "HTTP 500")),
        (302, {"location": "http://169.254.169.254/"}, Answer(302, "HTTP 302, which is not followed")),
        (429, {"retry-after": "120"}, Answer(429, "HTTP 429", 120.0)),
        (503, {"retry-after": "soon"}, Answer(503, "HTTP 503")),
        (410, {}, Answer(410, "HTTP 410")),
    ],
)
def test_what_comes_of_an_answer(tmp_path: Path, status: int, more: dict[str, str], expected: Answer) -> None:
    with Hooks((status, more)) as hooks:
        answer = sent(destination(tmp_path, hooks.url))
    assert answer == expected
    assert answer.gone == (status == 410)
    assert len(hooks.got) == 1


def test_a_time_to_be_left_alone_until_may_be_a_date(tmp_path: Path) -> None:
    with Hooks((429, {"retry-after": "Fri, 31 Dec 2999 23:59:59 GMT"})) as hooks:
        assert sent(destination(tmp_path, hooks.url)).retry_after_s > 1e9
    with Hooks((429, {"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"})) as hooks:
        assert sent(destination(tmp_path, hooks.url)).retry_after_s == 0


@contextmanager
def talking(words: bytes, *, on: bool) -> Generator[str]:
    """A receiver that answers with these bytes, for ever if `on`."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                try:
                    connection.sendall(words)
                    while on:
                        connection.sendall(b"x" * 65536)
                    while connection.recv(65536):
                        pass
                except OSError:
                    return

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(60)


@pytest.mark.slow
def test_a_receiver_that_says_nothing_is_left_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "ATTEMPT_S", 0.3)
    with talking(b"", on=False) as url:
        assert sent(destination(tmp_path, url)) == Answer(failure="no answer within 0.3 s")


def test_of_an_answer_without_an_end_nothing_but_its_head_is_read(tmp_path: Path) -> None:
    with talking(b"HTTP/1.1 200 OK\r\ncontent-length: 9999999999999\r\n\r\n", on=True) as url:
        assert sent(destination(tmp_path, url)) == Answer(200)


def test_a_head_without_an_end_is_no_proper_answer(tmp_path: Path) -> None:
    with talking(b"HTTP/1.1 200 OK\r\nx-long: ", on=True) as url:
        assert sent(destination(tmp_path, url)).failure == "no proper answer (RemoteProtocolError)"


def test_nobody_listens(tmp_path: Path) -> None:
    assert sent(destination(tmp_path, f"http://127.0.0.1:{free_port()}")) == Answer(failure="no connection")


PRIVATE = (
    *("127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
    *("::1", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::"),
    *("ff02::1", "::", "240.0.0.1"),
)


@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_that_leads_into_a_private_network_is_not_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """Whatever the name's owner says, and whenever they say it."""
    connected: list[Any] = []

    def connect(*given: Any) -> None:
        connected.append(given)

    _resolving(monkeypatch, [address])
    monkeypatch.setattr(socket.socket, "connect", connect)
    answer = sent(destination(tmp_path, "https://receiver.example.com/hook"))
    assert answer.failure == "its address is in a private network, and `private` does not allow that"
    assert connected == []


def test_the_address_that_was_checked_is_the_one_that_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name is resolved once: one that leads elsewhere a moment later leads nowhere."""
    asked = _resolving(monkeypatch, ["127.0.0.1"], ["10.0.0.1"])
    with Hooks() as hooks:
        port = hooks.url.rpartition(":")[2]
        to = destination(tmp_path, f"https://receiver.example.com:{port}/hook", private=True)
        # it speaks no TLS; that it was called at all says which address was
        assert sent(to).failure in ("no connection", "its certificate is not valid")
    assert asked == ["receiver.example.com"]


def _resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    asked: list[str] = []

    def resolved(host: Any, port: Any, *_: Any, **__: Any) -> Any:
        text = host.decode() if isinstance(host, bytes) else host
        if not text.endswith("example.com"):
            return real(host, port, *_, **__)
        asked.append(text)
        found = answers[min(len(asked), len(answers)) - 1]
        kinds = [socket.AF_INET6 if ":" in each else socket.AF_INET for each in found]
        return [(kind, socket.SOCK_STREAM, 6, "", (each, port)) for kind, each in zip(kinds, found, strict=True)]

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    return asked
