"""What the operations of the HTTP API share: who calls, what a body and a query say, and how a call fails."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from sluicegate.serving.http import replies
from sluicegate.serving.http.callers import Caller, Headers, Named
from sluicegate.serving.http.messages import Problem, Run
from sluicegate.serving.http.problems import of_status
from sluicegate.serving.service import Service
from sluicegate.serving.workflows import Workflows
from sluicegate.state import Principal

__all__ = [
    "Fault",
    "Operation",
    "acting_for",
    "as_json",
    "begun",
    "body_of",
    "caller_of",
    "of_run",
    "query_of",
    "run_of",
    "signed",
    "workflows_of",
]

_BODY_S = 15.0
"""How long a caller may take to send a body."""

_RUN = re.compile(r"[0-9a-f]{24}")

M = TypeVar("M", bound=BaseModel)


class Fault(Exception):  # noqa: N818 - not an error of ours: a call that does not fit
    """Answer with this problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Operation:
    """One endpoint, as routes and the OpenAPI document are made of it."""

    method: str
    path: str
    id: str
    summary: str
    handler: Callable[[Request], Awaitable[Response]]
    gives: type[BaseModel]
    takes: type[BaseModel] | None = None
    statuses: tuple[int, ...] = (200,)
    problems: tuple[int, ...] = field(default=(401, 403, 404))
    signed_in: bool = True
    query: type[BaseModel] | None = None
    error: type[BaseModel] = Problem
    """The form of its errors."""
    streams: bool = False
    """It may answer with server-sent events."""
    links: Mapping[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    """Operations that go on from what it gives: by their ids, the parameter and where its value is in the body."""


def workflows_of(request: Request) -> Workflows:
    return request.app.state.workflows


def run_of(request: Request) -> str:
    """The run that the address names."""
    run: str = request.path_params["id"]
    # an address may hold anything, and what is noted of it goes into the log
    request.state.run = run if _RUN.fullmatch(run) else ""
    return run


async def of_run(request: Request) -> tuple[Service, str]:
    """The workflow of the run that the address names, and the run."""
    run = run_of(request)
    return await workflows_of(request).of_run(run), run


def caller_of(request: Request, headers: Headers | None = None) -> Caller:
    """Who calls, by the request's headers or by those that stand for them. Raises `RunError` SG619."""
    caller: Caller = request.app.state.callers.of(headers or request.headers)
    request.state.caller = request.state.principal = caller.principal["id"]
    return caller


def acting_for(request: Request, caller: Caller, named: Named | None) -> Principal:
    person = caller.acting_for(named)
    request.state.principal = person["id"]
    return person


def query_of(request: Request, model: type[M]) -> M:
    """What the query of an address asks for."""
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise _misfit(error, model) from None


async def signed(
    request: Request, model: type[M], misfit: Callable[[ValidationError, type[BaseModel]], "Fault"] | None = None
) -> tuple[Caller, M]:
    """The caller and the body. The caller comes first: no body is read from unauthenticated callers. `misfit` says in
    another API's words what is wrong with a body."""
    caller = caller_of(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Fault(of_status(415, "the body is not application/json"))
    body = await body_of(request)
    try:
        return caller, model.model_validate_json(body)
    except ValidationError as error:
        raise (misfit or _misfit)(error, model) from None


def _misfit(error: ValidationError, model: type[BaseModel]) -> Fault:
    # pydantic's message repeats the input, which a problem must not
    wrong = [
        f"{'.'.join(map(str, each['loc'])) or 'body'}: {each['msg'].removeprefix('Value error, ')}"
        for each in error.errors()[:5]
    ]
    unknown = any(each["type"] == "extra_forbidden" and len(each["loc"]) == 1 for each in error.errors())
    hint = f"Allowed fields: {', '.join(model.model_fields)}" if unknown else ""
    return Fault(of_status(422, "; ".join(wrong), hint=hint))


async def body_of(request: Request) -> bytes:
    """The body, which is bounded in its size and its time."""
    most = workflows_of(request).limits.body_bytes
    too_large = Fault(of_status(413, f"the body has more than {most:,} bytes"))
    if int(request.headers.get("content-length") or 0) > most:
        raise too_large
    parts, size = list[bytes](), 0
    try:
        async with asyncio.timeout(_BODY_S):
            async for part in request.stream():
                parts.append(part)
                size += len(part)
                if size > most:
                    raise too_large
    except TimeoutError:
        raise Fault(of_status(408, f"request body not received within {_BODY_S:g} s")) from None
    except ClientDisconnect:
        raise Fault(of_status(400, "the client disconnected")) from None
    return b"".join(parts)


def begun(service: Service, run: str) -> Run:
    """What is told of a run that has just been accepted."""
    workflow = service.versions.serving.workflow
    return replies.begun(run, workflow=workflow.name, version=workflow.version, digest=workflow.digest)


def as_json(said: BaseModel, status: int = 200) -> Response:
    return Response(said.model_dump_json(), status, media_type="application/json")
