"""The port of a process that carries runs and takes no requests: `/healthz`, `/readyz` and `/metrics`.

It stays open while the process drains, so that what watches it sees that too.
"""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

from sluicegate.errors import RunError
from sluicegate.extras import extra
from sluicegate.serving.http.callers import Caller, Callers, Headers
from sluicegate.serving.http.server import bound
from sluicegate.serving.workflows import Workflows

__all__ = ["NobodyCalls", "watching"]

_CONNECTIONS = 100
"""At a time: probes, and what scrapes."""


class NobodyCalls(Callers):
    """Whoever asks is refused."""

    def of(self, headers: Headers) -> Caller:
        del headers
        raise RunError("SG619", "nobody may read these metrics", hint="Start it with --tokens FILE")

    async def ready(self, headers: Headers) -> None: ...


@asynccontextmanager
async def watching(workflows: Workflows, callers: Callers, *, host: str, port: int) -> AsyncGenerator[str]:
    """Answer within the block; gives the address. Port 0 picks a free one. The workflows are open.

    Raises `RunError` SG624 (the address cannot be had, or the extra is missing).
    """
    with extra("serve", "a port for probes and metrics", partial(RunError, "SG624")):
        import uvicorn

        from sluicegate.serving.http.app import watched
        from sluicegate.serving.http.connections import Connections

    class Beside(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Generator[None]:
            # they are the process's own
            yield

    config = uvicorn.Config(
        watched(workflows, callers),
        http=Connections(_CONNECTIONS),  # pyright: ignore[reportArgumentType] - uvicorn calls it as it calls a class
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=1,
        lifespan="on",
    )
    server = Beside(config)
    with bound(host, port) as taken:
        taken.listen()
        answering = asyncio.create_task(server.serve(sockets=[taken]))
        name, own, *_ = taken.getsockname()
        try:
            yield f"http://{f'[{name}]' if ':' in name else name}:{own}"
        finally:
            server.should_exit = True
            await answering
