"""The connections of the HTTP server: bounded, and closed first where no request comes.

uvicorn waits for a request as long as the caller likes, and keeps every connection: a thousand that say nothing would
keep everybody else out, or use up the descriptors of the process. Here the head of a request (its first line and its
headers) has `HEAD_S` to come, and beyond `most` connections those are closed that have no complete request, the
longest-waiting first: before the head, then before the body, and last those that have just been opened: between a
connection and its first bytes lies a way through a network. A tenth of them is for who comes next: where the others are
at work, requests are turned away (503), but for health and readiness.
"""

import asyncio
from itertools import chain
from typing import Any

import h11
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from sluicegate.serving.http.problems import MEDIA_TYPE, TITLES, of_status

__all__ = ["FIRST_S", "HEAD_S", "PROBES", "Connection", "Connections"]

HEAD_S = 15.0
"""How long a caller may take to send the request headers."""
FIRST_S = 1.0
"""For how long a connection that waits for a head goes last."""
PROBES = ("/healthz", "/readyz")
"""Endpoints that answer however busy the server is."""


class Connections:
    """The open connections of one server; makes them, as uvicorn's `http` setting."""

    def __init__(self, most: int) -> None:
        self._most, self._most_at_work = most, most - max(1, most // 10)
        self._open: set[Connection] = set()
        self._heads: dict[Connection, float] = {}
        """Those that wait for a head, by the loop's time since when; the longest-waiting first."""
        self._bodies: dict[Connection, float] = {}
        """Those whose head has come and whose body has not."""

    def __call__(self, **given: Any) -> "Connection":
        return Connection(self, **given)

    @property
    def full(self) -> bool:
        """More requests are at work than may be."""
        return len(self._open) - len(self._heads) - len(self._bodies) > self._most_at_work

    def opened(self, connection: "Connection") -> None:
        self._open.add(connection)
        if len(self._open) > self._most:
            # two turns of the loop later: first is read what has come already
            connection.loop.call_soon(connection.loop.call_soon, self._make_room)

    def closed(self, connection: "Connection") -> None:
        self._open.discard(connection)
        self.expects(connection)

    def expects(self, connection: "Connection", part: str = "") -> None:
        """It waits for this part of a request: ``head``, ``body``, or none."""
        for name, waiting in (("head", self._heads), ("body", self._bodies)):
            if name == part:
                waiting.setdefault(connection, connection.loop.time())
            else:
                waiting.pop(connection, None)

    def _make_room(self) -> None:
        late = [head for head, since in self._heads.items() if head.loop.time() >= since + FIRST_S]
        # a late one is first also where it is named again among all heads
        in_order = dict.fromkeys(chain(late, self._bodies, self._heads))
        for connection in list(in_order)[: max(0, len(self._open) - self._most)]:
            connection.end(503, "too many connections are open; this one had no complete request")


class Connection(H11Protocol):
    """uvicorn's, which ends when the head of a request does not come within `HEAD_S`."""

    _late: asyncio.TimerHandle | None = None

    def __init__(self, connections: Connections, **given: Any) -> None:
        super().__init__(**given)
        self._all = connections
        self.app = _turning_away(self.app, connections)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._all.opened(self)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        self._all.closed(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._expect()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # until the first byte of the next request, uvicorn's own limit holds
        self._wait_for_part()

    def send_400_response(self, msg: str) -> None:
        self.end(400, msg)

    def end(self, status: int, detail: str) -> None:
        """Say why, and close."""
        self._expect_nothing()
        self._all.closed(self)
        if self.transport.is_closing():
            return
        # where an answer has begun, another must not be written into it
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE, h11.ERROR):
            body = of_status(status, detail).model_dump_json().encode()
            head = (
                f"HTTP/1.1 {status} {TITLES[status]}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
                "connection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()

    def _expect(self) -> None:
        self._wait_for_part()
        if self.conn.their_state is not h11.IDLE:
            self._expect_nothing()
        # not anew for each byte that trickles in
        elif self._late is None and not self.transport.is_closing():
            self._late = self.loop.call_later(
                HEAD_S, self.end, 408, f"request headers not received within {HEAD_S:g} s"
            )

    def _wait_for_part(self) -> None:
        if not self.transport.is_closing():
            state = self.conn.their_state
            self._all.expects(self, "head" if state is h11.IDLE else "body" if state is h11.SEND_BODY else "")

    def _expect_nothing(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def _turning_away(app: ASGIApp, connections: Connections) -> ASGIApp:
    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        if not connections.full or scope["path"] in PROBES:
            await app(scope, receive, send)
            return
        body = of_status(503, "too many connections are open").model_dump_json().encode()
        headers = [(b"content-type", MEDIA_TYPE.encode()), (b"connection", b"close"), (b"retry-after", b"1")]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return answered
