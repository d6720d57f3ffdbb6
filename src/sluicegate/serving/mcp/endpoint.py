"""`POST /mcp`: the MCP server over streamable HTTP, in the application that serves everything else.

It has no sessions: each message is a call of its own, authenticated by its own token, so that no two callers can come
to share anything, and any of several processes on the port may take it. Clients of every version of the protocol are
answered in this way. What a web page sends is refused unless the page is this server's own.
"""

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from sluicegate.serving.http.calls import Fault, body_of, caller_of
from sluicegate.serving.http.problems import of_status
from sluicegate.serving.workflows import Workflows

if TYPE_CHECKING:
    from mcp.server import ServerRequestContext
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

__all__ = ["McpEndpoint"]


class McpEndpoint:
    """An ASGI application. The SDK is loaded with the first call, and let go by `close`."""

    def __init__(self, workflows: Workflows) -> None:
        self._workflows = workflows
        self._starting = asyncio.Lock()
        self._manager: StreamableHTTPSessionManager | None = None
        self._closing = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        _refuse_other_pages(request)
        request.state.asker = caller_of(request).principal
        body = await body_of(request)
        manager = await self._started()
        await manager.handle_request(scope, _once(body, receive), send)

    async def close(self) -> None:
        """Once no calls are in progress any more."""
        self._closing.set()
        if self._running:
            await self._running

    async def _started(self) -> "StreamableHTTPSessionManager":
        async with self._starting:
            if self._manager is None:
                try:
                    manager = await asyncio.to_thread(_made, self._workflows)
                except ImportError:
                    hint = "Its operator installs it: pip install 'sluicegate[mcp]'"
                    raise Fault(of_status(404, "this server has no MCP endpoint", hint=hint)) from None
                started = asyncio.Event()
                self._running = asyncio.create_task(self._run(manager, started))
                await started.wait()
                self._manager = manager
            return self._manager

    async def _run(self, manager: "StreamableHTTPSessionManager", started: asyncio.Event) -> None:
        async with manager.run():
            started.set()
            await self._closing.wait()


def _made(workflows: Workflows) -> "StreamableHTTPSessionManager":
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
    from sse_starlette.sse import AppStatus

    from sluicegate.serving.mcp.server import mcp_server

    # by itself it ends every stream at SIGTERM; here the calls in progress are answered first
    AppStatus.disable_automatic_graceful_drain()
    server = mcp_server(workflows, lambda context: _request_of(context).state.asker)
    return StreamableHTTPSessionManager(server, stateless=True, max_request_body_size=workflows.limits.body_bytes)


def _request_of(context: "ServerRequestContext[Any, Request]") -> Request:
    assert context.request is not None
    return context.request


def _refuse_other_pages(request: Request) -> None:
    """Only browsers send an origin, and a page of another site, or of a name that was made to point here, has none of
    this server's."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower():
        raise Fault(of_status(403, "calls from the pages of another origin are refused"))


def _once(body: bytes, receive: Receive) -> Receive:
    """What is received of a request whose body has been read."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return first.pop() if first else await receive()

    return replayed
