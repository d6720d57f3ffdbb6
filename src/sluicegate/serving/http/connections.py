"""One connection of the HTTP server: incomplete and malformed requests are rejected cheaply.

uvicorn waits for the head of a request (its first line and its headers) as long as the caller likes, so that a thousand
connections that say nothing would keep everybody else out.
"""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from sluicegate.serving.http.problems import MEDIA_TYPE, TITLES, of_status

__all__ = ["HEAD_S", "Connection"]

HEAD_S = 15.0
"""How long a caller may take to send the request headers."""


class Connection(H11Protocol):
    """uvicorn's, which ends when the head of a request does not come within `HEAD_S`."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # idle still: the head is not complete
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self._expect_head()
        else:
            self._expect_nothing()

    def send_400_response(self, msg: str) -> None:
        self._end(400, msg)

    def _expect_head(self) -> None:
        # not anew for each byte that trickles in
        if self._late is None:
            self._late = self.loop.call_later(
                HEAD_S, self._end, 408, f"request headers not received within {HEAD_S:g} s"
            )

    def _expect_nothing(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _end(self, status: int, detail: str) -> None:
        self._expect_nothing()
        if self.transport.is_closing():
            return
        body = of_status(status, detail).model_dump_json().encode()
        head = (
            f"HTTP/1.1 {status} {TITLES[status]}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
