"""A server of a test's own on the loopback."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

__all__ = ["LoopbackServer", "free_port"]


def free_port() -> int:
    """A port that nobody listens on, for a server whose address must be known before it has it."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


class LoopbackServer:
    """Serves while its block runs."""

    def listen(self, handler: type[BaseHTTPRequestHandler], port: int = 0) -> str:
        """Take a port, any by default; the address, which answers from the beginning of the block."""
        self._http = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._http.daemon_threads = True
        return f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
