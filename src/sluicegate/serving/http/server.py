"""A server for one workflow: uvicorn around the application, closed by SIGTERM after active runs are done."""

import asyncio
import signal
import socket
from collections.abc import Callable
from functools import partial

from sluicegate.errors import RunError
from sluicegate.extras import extra
from sluicegate.serving.http.callers import Callers
from sluicegate.serving.service import Service

__all__ = ["serve"]

_CONNECTIONS = 1000
"""Connections at a time; more are answered with 503 by the server itself."""


def serve(
    service: Service, callers: Callers, *, host: str, port: int, started: Callable[[str], None] = lambda _: None
) -> None:
    """Serve until SIGTERM or SIGINT, then drain. Port 0 picks a free one; `started` is called with the address.

    Raises `RunError` SG624 (the address cannot be had, or the extra is missing), and what opening the service raises.
    """
    with extra("serve", "serving over HTTP", partial(RunError, "SG624")):
        import uvicorn

        from sluicegate.serving.http.app import application
        from sluicegate.serving.http.connections import Connection
    config = uvicorn.Config(
        application(service, callers),
        http=Connection,
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=30,
        # the service ends the wait of its callers; this is for connections that do not read their answer
        timeout_graceful_shutdown=round(service.limits.drain_s) + 5,
        lifespan="on",
    )

    class Draining(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            """Stop listening and drain at the same time: uvicorn waits for connections, which wait for their runs."""
            closing = asyncio.create_task(service.close())
            await super().shutdown(sockets)
            await closing

    server = Draining(config)

    def leave(number: int, frame: object) -> None:
        # uvicorn raises a signal again once it has drained; by default that would end the process with it
        del number, frame
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)

    async def run() -> None:
        with _bound(host, port) as listening:
            await service.open()
            # who is told the address may call at once: what comes before uvicorn takes over waits in the socket
            listening.listen(config.backlog)
            name, own, *_ = listening.getsockname()
            started(f"http://{f'[{name}]' if ':' in name else name}:{own}")
            await server.serve(sockets=[listening])

    asyncio.run(run())


def _bound(host: str, port: int) -> socket.socket:
    """Before the workflow is opened, which takes longer."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        raise RunError(
            "SG624", f"cannot listen on {host}, port {port}: {error.strerror}", hint="Choose another --host or --port"
        ) from error
    return found
