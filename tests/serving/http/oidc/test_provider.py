"""A provider's keys: fetched as seldom as possible, and never from what is slow, large or elsewhere."""

import asyncio
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from sluicegate.errors import RunError
from sluicegate.serving.http.callers.oidc import provider as module
from sluicegate.serving.http.callers.oidc.bearer import OidcCallers
from sluicegate.serving.http.callers.oidc.provider import (
    FLOOR_S,
    FRESH_S,
    MAX_BYTES,
    STALE_S,
    IdentityProvider,
    ProviderError,
    fetch,
)
from tests.support.loopback import LoopbackServer
from tests.support.made_tokens import EC, ISSUER, RSA, THEIRS, Published, bearing, callers, token
from tests.support.waiting import soon


async def asked(callers: OidcCallers, text: str) -> str:
    """The caller's id, or the code of the error."""
    await callers.ready(bearing(text))
    try:
        return callers.of(bearing(text)).principal["id"]
    except RunError as error:
        return error.code


async def test_made_up_keys_fetch_nothing_more_within_the_floor() -> None:
    at, published = [0.0], Published()
    server = callers(published, clock=lambda: at[0])
    assert await asked(server, token()) == "u-1"
    assert len(published.fetched) == 2, "metadata and keys"
    at[0] += FLOOR_S
    forged = [token(key=THEIRS, kid=f"made up {number}") for number in range(20)]
    assert set(await asyncio.gather(*(asked(server, each) for each in forged))) == {"SG619"}
    assert len(published.fetched) == 4, "twenty at a time wait for one fetch"
    at[0] += FLOOR_S - 1
    assert await asked(server, token(key=THEIRS, kid="another")) == "SG619"
    assert len(published.fetched) == 4
    assert await asked(server, token()) == "u-1"


async def test_what_cannot_be_a_token_of_the_issuer_fetches_nothing() -> None:
    published = Published()
    server = callers(published)
    for text in ("", "x.y.z", token(alg="RS512"), token({"iss": "https://evil.example"}), token(cty="JWT")):
        assert await asked(server, text) == "SG619"
    assert published.fetched == []


async def test_a_new_key_serves_at_once_and_a_withdrawn_one_no_longer_than_keys_are_fresh() -> None:
    at, published = [0.0], Published(RSA)
    server = callers(published, clock=lambda: at[0])
    assert await asked(server, token()) == "u-1"
    at[0] += FLOOR_S
    published.keys = [EC.as_dict(private=False)]
    assert await asked(server, token()) == "u-1", "nobody has asked for the new set yet"
    assert await asked(server, token(key=EC, alg="ES256")) == "u-1"
    assert await asked(server, token()) == "SG619"


async def test_keys_that_are_not_fresh_serve_while_others_are_fetched() -> None:
    at, published = [0.0], Published(RSA)
    server = callers(published, clock=lambda: at[0])
    await asked(server, token())
    published.keys = [EC.as_dict(private=False)]
    at[0] += FRESH_S + 1
    assert await asked(server, token()) == "u-1", "this one does not wait"
    await soon(lambda: len(published.fetched) == 4)
    await soon(lambda: server.providers[ISSUER].keys("ec"))
    assert await asked(server, token()) == "SG619"


async def test_a_provider_that_is_down_signs_nobody_out_for_an_hour() -> None:
    at, published = [0.0], Published()
    server = callers(published, clock=lambda: at[0])
    await asked(server, token())
    published.fails = ProviderError("down")
    for at[0] in (FRESH_S + 1, STALE_S):
        assert await asked(server, token()) == "u-1"
        for _ in range(9):  # what it has begun in the background ends
            await asyncio.sleep(0)
    at[0] = STALE_S + 1
    assert await asked(server, token()) == "SG660"
    published.fails = None
    assert await asked(server, token()) == "SG660", "not within the floor of the last try"
    at[0] += FLOOR_S
    assert await asked(server, token()) == "u-1"


async def test_a_provider_that_never_answered_is_asked_once_within_the_floor() -> None:
    published = Published()
    published.fails = ProviderError("down")
    server = callers(published)
    assert set(await asyncio.gather(*(asked(server, token()) for _ in range(10)))) == {"SG660"}
    assert len(published.fetched) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"issuer": "https://evil.example"},
        {"issuer": ISSUER + "/"},
        {"jwks_uri": "http://login.example.org/jwks"},
        {"jwks_uri": "http://127.0.0.1/jwks"},
        {"token_endpoint": "https://127.0.0.1/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": None},
        {"jwks_uri": 5},
    ],
)
async def test_metadata_that_cannot_be_trusted(other: dict[str, Any]) -> None:
    published = Published()
    published.metadata |= other
    provider = IdentityProvider(ISSUER, fetching=published)
    with pytest.raises(ProviderError):
        await provider.check()
    assert published.fetched == [f"{ISSUER}/.well-known/openid-configuration"], "no address in it is asked"


Reply = Callable[[BaseHTTPRequestHandler], None]


def answering(reply: Reply) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reply(self)

        def log_message(self, format: str, *args: Any) -> None: ...

    return Handler


def _status(status: int, **headers: str) -> Reply:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("content-length", "2")
        handler.end_headers()
        handler.wfile.write(b"{}")

    return reply


def _huge(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b" " * 65536)
    except OSError:
        pass


def _text(text: bytes) -> Reply:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(text)

    return reply


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (_status(302, location="/elsewhere"), "status 302"),
        (_status(500), "status 500"),
        (_status(404), "status 404"),
        (_huge, f"more than {MAX_BYTES:,} bytes"),
        (_text(b"<html>"), "did not answer with JSON"),
        (_text(b"[" * 100_000), "did not answer with JSON"),
        (_text(b"[]"), "did not answer with a JSON object"),
    ],
)
async def test_an_answer_that_is_not_what_was_asked_for(reply: Reply, said: str) -> None:
    server = LoopbackServer()
    address = server.listen(answering(reply))
    with server, pytest.raises(ProviderError, match=said):
        await fetch(f"{address}/.well-known/openid-configuration")


async def test_an_answer_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.2)
    over = threading.Event()

    def dripping(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while not over.wait(0.01):
                handler.wfile.write(b" ")
        except OSError:
            pass

    server = LoopbackServer()
    address = server.listen(answering(dripping))
    with server:
        try:
            with pytest.raises(ProviderError, match="did not answer within"):
                await fetch(address)
        finally:
            over.set()


async def test_nobody_listening() -> None:
    server = LoopbackServer()
    address = server.listen(answering(_status(200)))
    with server:
        pass
    with pytest.raises(ProviderError, match="cannot be reached"):
        await fetch(address)
