"""What the HTTP API does, one function per operation; `OPERATIONS` is the list that routes and document are made of."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from sluicegate.errors import NotFoundError, SluicegateError
from sluicegate.graphs.runtime.intake import new_run_id
from sluicegate.graphs.runtime.run import Outcome
from sluicegate.serving.http import messages
from sluicegate.serving.http.callers import Caller, Named
from sluicegate.serving.http.problems import of_error, of_status
from sluicegate.serving.in_progress import Accepted
from sluicegate.serving.progress import FinishedStep
from sluicegate.serving.service import Service
from sluicegate.state import Principal

__all__ = ["OPERATIONS", "Fault", "Operation"]

_BODY_S = 15.0
"""How long a caller may take to send a body."""
_ALIVE_S = 15.0
"""Interval of keep-alive comments in a stream, so that proxies do not close it."""
_WRITTEN = ("answer_confidence", "approval", "cost_usd", "latency_ms", "path", "policy_pass", "route_confidence")
"""Scores that runs write themselves."""

_RUN = re.compile(r"[0-9a-f]{24}")
M = TypeVar("M", bound=BaseModel)


class Fault(Exception):  # noqa: N818 - not an error of ours: a call that does not fit
    """Answer with this problem."""

    def __init__(self, problem: messages.Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Operation:
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


# --- runs ---


async def ask(request: Request) -> Response:
    caller, asked = await _signed(request, messages.Ask)
    asker = _acting_for(request, caller, asked.principal)
    service = _service(request)
    run = request.state.run = service.run_id(asker, asked.request_id) if asked.request_id else new_run_id()
    progress = _Progress() if asked.stream else None
    # from here on it is on disk, and found by its id
    accepted = await service.accept(
        asked.text,
        asker,
        run=run,
        request_id=asked.request_id,
        session=asked.session,
        on_step=progress.put_from_elsewhere if progress else None,
        on_text=progress.put_from_elsewhere if progress else None,
    )
    if progress:
        return StreamingResponse(_events(service, accepted, progress), media_type="text/event-stream")
    try:
        async with asyncio.timeout(service.limits.timeout_s):
            outcome = await accepted.outcome()
    except TimeoutError:
        return _later(_begun(service, run))
    return _told(outcome)


class _Progress(asyncio.Queue[FinishedStep | str]):
    """Steps, and pieces of the answer, as they are told from another thread."""

    def __init__(self) -> None:
        super().__init__()
        self._loop_of_caller = asyncio.get_running_loop()

    def put_from_elsewhere(self, one: FinishedStep | str) -> None:
        self._loop_of_caller.call_soon_threadsafe(self.put_nowait, one)


async def _events(service: Service, accepted: Accepted, progress: _Progress) -> AsyncGenerator[str]:
    """The progress of a run as server-sent events. The run continues when the stream is closed."""
    work, run = asyncio.ensure_future(accepted.outcome()), accepted.run
    yield _event("run", _begun(service, run))
    following: asyncio.Task[FinishedStep | str] | None = None
    try:
        while not work.done() or not progress.empty():
            following = following or asyncio.create_task(progress.get())
            await asyncio.wait({work, following}, timeout=_ALIVE_S, return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                done, following = following.result(), None
                if isinstance(done, str):
                    yield _event("text", messages.Text(text=done))
                else:
                    yield _event("step", messages.StepDone.of(done))
            elif not work.done():
                yield ": alive\n\n"
            else:
                # something may still be on its way from the other thread
                await asyncio.sleep(0)
                if progress.empty() and not following.done():
                    break
        outcome = await work
    except SluicegateError as error:
        yield _event("problem", of_error(error, run=run))
    else:
        yield _event("result", messages.answered(outcome))
    finally:
        if following:
            following.cancel()
        # a disconnected client: the wait is cancelled, the run is not
        work.cancel()


async def find(request: Request) -> Response:
    caller = _caller(request)
    return _json(await _standing(_service(request), _run(request), caller.principal))


async def trail(request: Request) -> Response:
    caller, run = _caller(request), _run(request)
    decisions = await _service(request).trail(run, caller.principal)
    keys = messages.Decided.model_fields
    return _json(
        messages.Trail(run=run, decisions=[messages.Decided(**{key: each[key] for key in keys}) for each in decisions])
    )


async def feedback(request: Request) -> Response:
    caller, given = await _signed(request, messages.Feedback)
    service, run = _service(request), _run(request)
    if given.name in _WRITTEN or given.name.startswith("check_"):
        raise Fault(of_status(422, f"name: {given.name} is a score that runs write themselves"))
    labels = service.versions.serving.workflow.config.intents
    if given.name == "correct_intent" and given.value not in labels:
        raise Fault(
            of_status(422, "value: correct_intent must be one of the intents", hint=f"One of: {', '.join(labels)}")
        )
    asker = _acting_for(request, caller, given.principal)
    score = await service.feedback(run, asker, given.name, given.value, given.comment)
    return _json(messages.Given(id=score.id, run=run, name=score.name, value=score.value), 201)


# --- conversations ---


async def conversations(request: Request) -> Response:
    caller = _caller(request)
    rows = await _service(request).conversations(caller.principal)
    return _json(
        messages.Conversations(
            conversations=[
                messages.Conversation(
                    session=row.name,
                    turns=row.turns,
                    began_at=datetime.fromisoformat(row.began_at),
                    last_at=datetime.fromisoformat(row.last_at),
                )
                for row in rows
            ]
        )
    )


async def turns(request: Request) -> Response:
    caller, wanted = _caller(request), _wanted(request, messages.TurnsWanted)
    rows = await _service(request).turns(wanted.session, caller.principal)
    shown = [
        messages.Turn(
            number=row.number,
            at=datetime.fromisoformat(row.at),
            question=outcome.state["request"]["text"] if outcome else "",
            result=messages.answered(outcome) if outcome else None,
        )
        for row, outcome in rows
    ]
    return _json(messages.Turns(session=wanted.session, turns=shown))


# --- approvals ---


async def approvals(request: Request) -> Response:
    caller, wanted = _caller(request), _wanted(request, messages.Page)
    found = await _service(request).approvals(caller.principal, limit=wanted.limit, after=wanted.after)
    return _json(messages.Approvals(approvals=[messages.asked(each) for each in found], next=found.next))


async def approval(request: Request) -> Response:
    caller = _caller(request)
    return _json(messages.asked(await _service(request).approval(_run(request), caller.principal)))


async def decide(request: Request) -> Response:
    caller, given = await _signed(request, messages.Decide)
    if (given.verdict == "edit") != (bool(given.text.strip()) or given.arguments is not None):
        raise Fault(of_status(422, "text or arguments: one is required for the verdict edit, and allowed only there"))
    by, run = _acting_for(request, caller, given.principal), _run(request)
    service = _service(request)
    accepted = await service.accept_decision(
        run, given.verdict, by, reason=given.reason, text=given.text, arguments=given.arguments, changed=given.changed
    )
    try:
        async with asyncio.timeout(service.limits.timeout_s):
            outcome = await accepted.outcome()
    except TimeoutError:
        said = _begun(service, run)
    else:
        said = messages.answered(outcome, edited=given.arguments is not None)
        if not outcome.waiting:
            return _json(said)
    try:
        await service.find(run, by)
    except NotFoundError:
        # who decides on a run need not be able to see it
        return _json(said, 202)
    return _later(said)


# --- the server's own ---


async def health(request: Request) -> Response:
    del request
    return JSONResponse({"status": "up"})


async def ready(request: Request) -> Response:
    service = _service(request)
    workflow, fault = service.versions.serving.workflow, service.versions.fault
    exports = [
        messages.Export(
            to=report.destination.partition(" ")[0],
            unsent=report.waiting + report.dropped,
            last_outage=datetime.fromtimestamp(report.failed_ns / 1e9, UTC) if report.failed_ns else None,
        )
        for report in service.versions.serving.tracer.report()
    ]
    said = messages.Health(
        status="ready" if service.ready else "closing",
        workflow=service.name,
        version=workflow.version,
        digest=workflow.digest,
        promoted=service.versions.promoted,
        inside=service.inside,
        shadow=service.shadow,  # pyright: ignore[reportArgumentType]
        fault=fault.code if fault else "",
        exports=exports,
    )
    return _json(said, 200 if service.ready else 503)


class Up(BaseModel):
    status: str


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST", "/v1/runs", "ask", "Send a request", ask, messages.Run, messages.Ask,
        (200, 202), (401, 403, 408, 409, 413, 415, 422, 429, 500, 502, 503),
    ),
    Operation("GET", "/v1/runs/{id}", "run", "The current state of a run", find, messages.Run, problems=(401, 404)),
    Operation(
        "GET", "/v1/runs/{id}/trail", "trail", "The decisions of a run", trail, messages.Trail, problems=(401, 404)
    ),
    Operation(
        "POST", "/v1/runs/{id}/feedback", "feedback", "Score a run", feedback, messages.Given, messages.Feedback,
        (201,), (401, 403, 404, 408, 413, 415, 422),
    ),
    Operation(
        "GET", "/v1/conversations", "conversations", "Your conversations", conversations, messages.Conversations,
        problems=(401,),
    ),
    Operation(
        "GET", "/v1/turns", "turns", "The turns of one of your conversations", turns, messages.Turns,
        problems=(401, 404, 422), query=messages.TurnsWanted,
    ),
    Operation(
        "GET", "/v1/approvals", "approvals", "Waiting runs that you may decide", approvals,
        messages.Approvals, problems=(401, 422), query=messages.Page,
    ),
    Operation(
        "GET", "/v1/approvals/{id}", "approval", "The evidence for a decision", approval, messages.Approval,
        problems=(401, 403, 404, 409),
    ),
    Operation(
        "POST", "/v1/approvals/{id}", "decide", "Approve, edit or reject", decide, messages.Run, messages.Decide,
        (200, 202), (401, 403, 404, 408, 409, 413, 415, 422, 500, 502, 503),
    ),
    Operation("GET", "/healthz", "health", "Whether the process is up", health, Up, problems=(), signed_in=False),
    Operation(
        "GET", "/readyz", "ready", "Whether requests are accepted, and the version", ready, messages.Health,
        statuses=(200, 503), problems=(), signed_in=False,
    ),
)  # fmt: skip


# --- shared ---


def _service(request: Request) -> Service:
    return request.app.state.service


def _run(request: Request) -> str:
    run: str = request.path_params["id"]
    # an address may hold anything, and what is noted of it goes into the log
    request.state.run = run if _RUN.fullmatch(run) else ""
    return run


def _caller(request: Request) -> Caller:
    caller: Caller = request.app.state.callers.of(request.headers)
    request.state.caller = request.state.principal = caller.principal["id"]
    return caller


def _acting_for(request: Request, caller: Caller, named: Named | None) -> Principal:
    person = caller.acting_for(named)
    request.state.principal = person["id"]
    return person


def _wanted(request: Request, model: type[M]) -> M:
    """What the query of an address asks for."""
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise _misfit(error, model) from None


async def _signed(request: Request, model: type[M]) -> tuple[Caller, M]:
    """The caller and the body. The caller comes first: no body is read from unauthenticated callers."""
    caller = _caller(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Fault(of_status(415, "the body is not application/json"))
    body = await _body(request)
    try:
        return caller, model.model_validate_json(body)
    except ValidationError as error:
        raise _misfit(error, model) from None


def _misfit(error: ValidationError, model: type[BaseModel]) -> Fault:
    # pydantic's message repeats the input, which a problem must not
    wrong = [f"{'.'.join(map(str, each['loc'])) or 'body'}: {each['msg']}" for each in error.errors()[:5]]
    unknown = any(each["type"] == "extra_forbidden" and len(each["loc"]) == 1 for each in error.errors())
    hint = f"Allowed fields: {', '.join(model.model_fields)}" if unknown else ""
    return Fault(of_status(422, "; ".join(wrong), hint=hint))


async def _body(request: Request) -> bytes:
    most = _service(request).limits.body_bytes
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


async def _standing(service: Service, run: str, asker: Principal) -> messages.Run:
    outcome, row = await service.find(run, asker)
    failed = row["status"] == "failed"
    if outcome is None:
        facts = {key: row[key] for key in ("workflow", "version", "digest")}
        return messages.begun(run, **facts, failed=failed)
    # the error's words are the trace's, for those who may read it
    return messages.answered(
        outcome,
        status="failed" if failed else "",
        reason="a step failed; send the request again with the same id" if failed else "",
    )


def _begun(service: Service, run: str) -> messages.Run:
    workflow = service.versions.serving.workflow
    return messages.begun(run, workflow=workflow.name, version=workflow.version, digest=workflow.digest)


def _told(outcome: Outcome) -> Response:
    said = messages.answered(outcome)
    return _later(said) if outcome.waiting else _json(said)


def _later(said: messages.Run) -> Response:
    response = _json(said, 202)
    response.headers["location"] = f"/v1/runs/{said.run}"
    return response


def _json(said: BaseModel, status: int = 200) -> Response:
    return Response(said.model_dump_json(), status, media_type="application/json")


def _event(name: str, said: BaseModel) -> str:
    return f"event: {name}\ndata: {json.dumps(said.model_dump(mode='json'), ensure_ascii=False)}\n\n"
