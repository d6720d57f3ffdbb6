"""A server for workflows: uvicorn around the application.

SIGTERM ends it in three steps: readiness is withdrawn, so that a load balancer sends no more; after a grace, in which
requests are served as before, the port is closed; what is at work has its time to finish.
"""

import asyncio
import signal
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

from sluicegate.errors import RunError
from sluicegate.extras import extra
from sluicegate.serving.http.callers import Callers
from sluicegate.serving.process.reload import Reload
from sluicegate.serving.webhooks.worker import WebhookWorker
from sluicegate.serving.workflows import Workflows

__all__ = ["Certificate", "bound", "serve"]

_CONNECTIONS = 1000
"""Connections at a time; fewer where the process may not open so many files."""
_TICK_S = 0.1
_BACKLOG = 128
"""Connections that the system accepts before the server does."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a server shows its clients, in PEM files; read once, so that a new one takes a restart."""

    chain: Path
    """Its own certificate, and those between it and the authority's."""
    key: Path
    """Without a password."""

    def check(self) -> None:
        """Raises `RunError` SG624 when the files cannot be used."""
        try:
            # by default OpenSSL asks for a password on the terminal
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.chain, self.key, password=lambda: "")
        except (OSError, ValueError) as error:
            raise RunError(
                "SG624",
                f"{self.chain} and {self.key} cannot be used for TLS: {error}",
                hint="--tls-certificate takes the chain and --tls-key its key, both PEM, the key without a password",
            ) from error


def serve(
    workflows: Workflows,
    callers: Callers,
    *,
    host: str = "",
    port: int = 0,
    listening: socket.socket | None = None,
    certificate: Certificate | None = None,
    reload: Reload | None = None,
    webhooks: WebhookWorker | None = None,
    started: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain. Port 0 picks a free one; `started` is called with the address.
    `listening` is a socket that other processes take connections from too, in the place of an address.

    With a `certificate` over TLS only; with `reload`, edits of the workflows are followed. Raises `RunError` SG624 (the
    address cannot be had, a certificate not be used, or the extra is missing), and what opening the workflows raises.
    """
    if certificate:
        certificate.check()
    with extra("serve", "serving over HTTP", partial(RunError, "SG624")):
        import uvicorn

        from sluicegate.serving.http.app import application
        from sluicegate.serving.http.connections import Connections
    config = uvicorn.Config(
        application(workflows, callers, webhooks=webhooks),
        http=Connections(_most()),  # pyright: ignore[reportArgumentType] - uvicorn calls it as it calls a class
        log_config=None,
        access_log=False,
        server_header=False,
        # of a shared socket one connection at a time, so that each process takes what it has time for
        backlog=1 if listening else _BACKLOG,
        timeout_keep_alive=30,
        # the service ends the wait of its callers; this is for connections that do not read their answer
        timeout_graceful_shutdown=round(workflows.limits.drain_s) + 5,
        lifespan="on",
        ssl_certfile=certificate and certificate.chain,
        ssl_keyfile=certificate and certificate.key,
    )

    class Draining(uvicorn.Server):
        hurried = False
        looking: asyncio.Task[None] | None = None

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            for each in sockets or ():
                # the queue of the system is not what is taken at a time
                each.listen(_BACKLOG)

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            """The first SIGTERM withdraws readiness, a second signal or Ctrl-C ends the grace."""
            self.hurried = self.should_exit or sig == signal.SIGINT
            workflows.withdraw()
            super().handle_exit(sig, frame)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            """Stop listening and drain at the same time: uvicorn waits for connections, which wait for their runs."""
            for _ in range(round(workflows.limits.grace_s / _TICK_S)):
                if not self.hurried:
                    await asyncio.sleep(_TICK_S)
            if reload and self.looking:
                reload.stop()
                await self.looking
            if webhooks:
                # what ends from here on is announced by another process, or at the next start
                await asyncio.to_thread(webhooks.close)
            closing = asyncio.create_task(workflows.close())
            await super().shutdown(sockets)
            await closing

    server = Draining(config)
    # uvicorn raises a signal again once it has drained; by default that would end the process with it
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)

    async def run() -> None:
        with listening or bound(host, port) as taken:
            await workflows.open()
            if webhooks:
                webhooks.open()
            # who is told the address may call at once: what comes before uvicorn takes over waits in the socket
            taken.listen(_BACKLOG)
            name, own, *_ = taken.getsockname()
            started(f"{'https' if certificate else 'http'}://{f'[{name}]' if ':' in name else name}:{own}")
            if reload:
                server.looking = asyncio.create_task(reload.follow())
            await server.serve(sockets=[taken])

    asyncio.run(run())


def _most() -> int:
    """How many connections: half of the files that the process may open, and not more than `_CONNECTIONS`."""
    try:
        import resource
    except ImportError:  # Windows
        return _CONNECTIONS
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _CONNECTIONS if files == resource.RLIM_INFINITY else min(_CONNECTIONS, files // 2)


def bound(host: str, port: int) -> socket.socket:
    """A socket with this address, taken before the workflows are opened, which takes longer. Raises `RunError`
    SG624."""
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
