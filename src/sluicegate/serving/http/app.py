"""The HTTP API of `Workflows`: an ASGI application.

    app = application(Workflows([Service("configs/helpdesk/workflow.yaml")]), TokenFile(Path("tokens.json")))

Every error is a problem (RFC 9457) with a code. The access log has route, status, duration and run, the caller by a
keyed hash, and no texts. The workflows are opened with the application and drained with it.
"""

import asyncio
import json
import logging
import time
import traceback
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Lifespan, Message, Receive, Scope, Send

from sluicegate.errors import NodeFailedError, RunError, SluicegateError
from sluicegate.observe.exporters.otlp_metrics import MetricsSender, interval_s
from sluicegate.observe.tracing.masking import Masking
from sluicegate.serving.http.callers import Callers, FixedCaller
from sluicegate.serving.http.calls import Fault, Operation, caller_of
from sluicegate.serving.http.connections import PROBES
from sluicegate.serving.http.console.mounting import (
    console,
    console_headers,
    console_routes,
    is_console,
    problem_page,
)
from sluicegate.serving.http.console.page import PageRoute
from sluicegate.serving.http.endpoints import OPERATIONS
from sluicegate.serving.http.messages import Problem
from sluicegate.serving.http.openai import errors as openai
from sluicegate.serving.http.openai.operations import OPENAI
from sluicegate.serving.http.openapi import document
from sluicegate.serving.http.problems import MEDIA_TYPE, of_error, of_status
from sluicegate.serving.http.swagger import page as swagger
from sluicegate.serving.http.watching.metrics import CONTENT_TYPE, Metrics
from sluicegate.serving.limits import Busy
from sluicegate.serving.mcp.endpoint import McpEndpoint
from sluicegate.serving.records.runs import RunRecords
from sluicegate.serving.webhooks.worker import WebhookWorker
from sluicegate.serving.workflows import Workflows

__all__ = ["application", "watched"]

_EVERY = (*OPERATIONS, *OPENAI)
_OPENAI = frozenset(each.path for each in OPENAI)

_LOOK_S = 1.0
"""How old the numbers of another worker in `/metrics` may be, where they are not counts."""

access = logging.getLogger("sluicegate.access")
log = logging.getLogger(__name__)


def application(workflows: Workflows, callers: Callers, *, webhooks: WebhookWorker | None = None) -> ASGIApp:
    """The workflows over HTTP."""
    metrics, mcp, shown = Metrics(workflows, webhooks), McpEndpoint(workflows), console(callers)
    records = RunRecords(workflows)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        # the caller may have opened them already, to see at once why one fails
        await workflows.open()
        workflows.watch(metrics.recorded)
        records.open()
        try:
            async with _kept_up(metrics):
                if webhooks:
                    webhooks.watch(metrics.attempted)
                    await asyncio.to_thread(webhooks.start)
                try:
                    yield
                finally:
                    if webhooks:
                        await asyncio.to_thread(webhooks.close)
        finally:
            records.close()
            await workflows.close()
            await mcp.close()

    async def openapi(_: Request) -> Response:
        served = [service.versions.serving.workflow for service in workflows]
        return JSONResponse(document(_EVERY, {each.name: each.config.purpose for each in served}))

    app = _app(
        workflows,
        callers,
        [
            *_routes((*_EVERY, *console_routes(shown))),
            Route("/openapi.json", openapi),
            *swagger.ROUTES,
            _scraping(workflows, metrics),
            Route("/mcp", mcp, methods=["POST"]),
            *callers.routes,
        ],
        lifespan,
    )
    app.state.console, app.state.records = shown, records
    return _Told(app, metrics.requested, callers)


def watched(workflows: Workflows, callers: Callers) -> ASGIApp:
    """What watches a process that takes no requests: whether it is up, whether it is ready, and its metrics. The
    workflows are open, and stay so."""
    metrics = Metrics(workflows)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        workflows.watch(metrics.recorded)
        async with _kept_up(metrics):
            yield

    probes = [each for each in OPERATIONS if each.path in PROBES]
    app = _app(workflows, callers, [*_routes(probes), _scraping(workflows, metrics)], lifespan)
    return _Told(app, metrics.requested, callers)


def _app(
    workflows: Workflows, callers: Callers, routes: Sequence[BaseRoute], lifespan: Lifespan[Starlette]
) -> Starlette:
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={
            Fault: _fault,
            SluicegateError: _known,
            HTTPException: _http,
            Exception: _unknown,
        },
    )
    # an address with a slash too many is told so: a client that follows elsewhere may lose its body or its token
    app.router.redirect_slashes = False
    app.state.workflows, app.state.callers, app.state.since = workflows, callers, int(time.time())
    return app


def _scraping(workflows: Workflows, metrics: Metrics) -> Route:
    async def scraped(request: Request) -> Response:
        asker = caller_of(request).principal
        if not workflows.sees_all(asker):
            raise RunError(
                "SG610",
                f"policy does not let {asker['id']} see what all runs do",
                hint="Scrape with a token that has the role operator or auditor",
            )
        return Response(await asyncio.to_thread(metrics.text), media_type=CONTENT_TYPE)

    return Route("/metrics", scraped)


@asynccontextmanager
async def _kept_up(metrics: Metrics) -> AsyncGenerator[None]:
    """Look for others and send to a collector, where there are any, now and then, and send once more at the end."""
    regular = [asyncio.create_task(_every(_LOOK_S, metrics.look))] if metrics.shared else []
    if sender := MetricsSender.configured():
        regular.append(asyncio.create_task(_every(interval_s(), partial(metrics.send, sender))))
    try:
        yield
    finally:
        for task in regular:
            task.cancel()
        if sender:
            await asyncio.to_thread(metrics.send, sender)
            sender.close()


async def _every(seconds: float, work: Callable[[], None]) -> None:
    while True:
        await asyncio.to_thread(work)
        await asyncio.sleep(seconds)


def _routes(operations: Iterable[Operation | PageRoute]) -> list[Route]:
    """One for each path, so that a method that it does not have is refused with all that it has."""
    paths = dict[str, dict[str, Operation | PageRoute]]()
    for each in operations:
        paths.setdefault(each.path, {})[each.method] = each

    def route(path: str, methods: dict[str, Operation | PageRoute]) -> Route:
        async def dispatch(request: Request) -> Response:
            # the body of HEAD is left out on its way
            return await methods["GET" if request.method == "HEAD" else request.method].handler(request)

        return Route(path, dispatch, methods=[*methods])

    return [route(path, methods) for path, methods in paths.items()]


def _answer(request: Request, fault: Fault) -> Response:
    """In the form that the callers of this endpoint read."""
    if is_console(request.scope):
        return _marked(problem_page(request, fault), fault.problem)
    if getattr(request.scope.get("route"), "path", "") in _OPENAI:
        return _marked(openai.reply(fault, begun=getattr(request.state, "begun", False)), fault.problem)
    return _said(fault.problem)


def _said(problem: Problem) -> Response:
    return _marked(Response(problem.model_dump_json(), problem.status, media_type=MEDIA_TYPE), problem)


def _marked(response: Response, problem: Problem) -> Response:
    if problem.status in (429, 503):
        response.headers["retry-after"] = "1"
    return response


async def _fault(request: Request, error: Exception) -> Response:
    assert isinstance(error, Fault)
    response = _answer(request, error)
    if error.problem.status == 401:
        response.headers["www-authenticate"] = request.app.state.callers.challenge
    if isinstance(error.__cause__, Busy):
        response.headers["retry-after"] = str(error.__cause__.retry_after_s)
    if error.problem.status >= 500:
        # its code and its run, not its words: those may be a model's or a caller's
        log.error("%s in run %s", error.problem.code, error.problem.run or "-")
    return response


async def _known(request: Request, error: Exception) -> Response:
    assert isinstance(error, SluicegateError)
    fault = Fault(of_error(error, run=getattr(request.state, "run", "")))
    fault.__cause__ = error
    return await _fault(request, fault)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        if is_console(request.scope):
            return problem_page(request, Fault(of_status(404, "there is no such page")))
        return _said(of_status(404, "no such endpoint", hint="GET /openapi.json lists the endpoints"))
    headers = error.headers or {}
    hint = f"Use {headers['Allow']}" if "Allow" in headers else ""
    response = _answer(request, Fault(of_status(error.status_code, error.detail, hint=hint)))
    response.headers.update(headers)
    return response


async def _unknown(request: Request, error: Exception) -> Response:
    where = "".join(traceback.format_tb(error.__traceback__))
    log.error("%s in run %s\n%s", type(error).__name__, getattr(request.state, "run", "-"), where)
    return _answer(request, Fault(of_error(NodeFailedError(""), run=getattr(request.state, "run", ""))))


class _Told:
    """Refuses what is framed or addressed wrongly; adds headers to every response, and a line to the access log."""

    def __init__(self, app: ASGIApp, requested: Callable[[str, str, int, float], None], callers: Callers) -> None:
        """`requested` counts a request."""
        self._app, self._requested, self._callers = app, requested, callers
        self._loopback = isinstance(callers, FixedCaller)
        """Answer only to names of the loopback address."""
        # the same name as in traces that do not name users plainly
        self._hashed = Masking().user

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message["headers"], (b"x-content-type-options", b"nosniff")]
                if not any(name == b"cache-control" for name, _ in headers):
                    headers.append((b"cache-control", b"no-store"))
                message["headers"] = headers + (console_headers(scope) if is_console(scope) else [])
            await send(message)

        scope.setdefault("state", {})
        refusal = self._refusal(scope)
        try:
            if refusal is None:
                await self._callers.ready(Headers(scope=scope))
            await (refusal or self._app)(scope, receive, sending)
        finally:
            state, seconds = scope["state"], time.perf_counter() - started
            # not as it was called: an address may hold anything
            route: str = getattr(scope.get("route"), "path", "")
            self._requested(scope["method"], route, status, seconds)
            said: dict[str, Any] = {
                "method": scope["method"],
                "route": route,
                "status": status,
                "ms": round(seconds * 1000, 1),
                "run": state.get("run", ""),
                "caller": self._hashed(state.get("caller", "")),
            }
            if state.get("principal") != state.get("caller"):
                said["principal"] = self._hashed(state["principal"])
            access.info(json.dumps(said), extra={"fields": said})

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        problem = None
        if "transfer-encoding" in headers and ("content-length" in headers or scope["http_version"] == "1.0"):
            # a gateway in front may take its end to be elsewhere, and what follows to be another's request (RFC 9112)
            problem = of_status(400, "the length of the body is ambiguous")
        elif self._loopback and not _is_loopback(headers.get("host", "")):
            # a web page may have its own name point here
            problem = of_status(
                421, "this server answers only to names of the loopback address", hint="Call it by 127.0.0.1"
            )
        if problem is None:
            return None
        response = _said(problem)
        response.headers["connection"] = "close"
        return response


def _is_loopback(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    return name.lower() in ("localhost", "127.0.0.1", "[::1]")
