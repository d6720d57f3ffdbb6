"""The firewall over streamable HTTP, at `/mcp`: each message is a call of its own, authenticated by its own token."""

import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import uvicorn
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from sluicegate.errors import RunError
from sluicegate.serving.firewall.firewall import Firewall
from sluicegate.serving.firewall.server import firewall_server
from sluicegate.serving.http.callers import Callers
from sluicegate.serving.http.problems import of_error

__all__ = ["firewall_app", "serve_http"]


def firewall_app(firewall: Firewall, callers: Callers) -> Starlette:
    """An application with one route, and those of its callers. It opens the firewall when it starts."""
    server = firewall_server(firewall, lambda context: context.request.state.person)
    # without sessions no two callers can come to share anything
    manager = StreamableHTTPSessionManager(
        server, stateless=True, max_request_body_size=2 * firewall.file.config.arguments.max_bytes + 65_536
    )

    class Endpoint:
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive, send)
            if refused := await _refusal(request, callers):
                await refused(scope, receive, send)
            else:
                await manager.handle_request(scope, receive, send)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with firewall, manager.run():
            yield

    return Starlette(routes=[Route("/mcp", Endpoint()), *callers.routes], lifespan=lifespan)


async def _refusal(request: Request, callers: Callers) -> JSONResponse | None:
    """Why this message is not taken; else its caller is known from now on."""
    # only browsers send an origin, and no page is meant to call this
    if request.headers.get("origin") is not None:
        return JSONResponse({"error": "calls from web pages are refused"}, status_code=403)
    await callers.ready(request.headers)
    try:
        request.state.person = callers.of(request.headers).principal
    except RunError as error:
        problem = of_error(error)
        headers = {"www-authenticate": callers.challenge} if problem.status == 401 else {}
        return JSONResponse({"error": problem.detail, "code": error.code}, status_code=problem.status, headers=headers)
    return None


def serve_http(
    firewall: Firewall, callers: Callers, *, host: str, port: int, started: Callable[[str], None] = lambda _: None
) -> None:
    """Serve until SIGTERM or SIGINT; port 0 picks a free one, and `started` is called with the address. Raises
    `RunError` SG624 where the address cannot be had."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        what = f"cannot listen on {host}, port {port}: {error.strerror}"
        raise RunError("SG624", what, hint="Choose another --host or --port") from error
    config = uvicorn.Config(
        firewall_app(firewall, callers), log_config=None, access_log=False, server_header=False, lifespan="on"
    )
    name, own, *_ = listening.getsockname()
    started(f"http://{f'[{name}]' if ':' in name else name}:{own}")
    uvicorn.Server(config).run(sockets=[listening])
