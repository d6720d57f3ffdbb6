"""What the HTTP API does, one function per operation; `OPERATIONS` is the list that routes and document are made of."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from sluicegate.errors import GivenUpError, NotFoundError, SluicegateError
from sluicegate.graphs.runtime.intake import new_run_id
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.plain_data import clean
from sluicegate.serving.http import messages, replies
from sluicegate.serving.http.calls import (
    Fault,
    Operation,
    acting_for,
    as_json,
    begun,
    caller_of,
    of_run,
    query_of,
    signed,
    workflows_of,
)
from sluicegate.serving.http.events import ALIVE, Progress, progress_of
from sluicegate.serving.http.problems import of_error, of_status
from sluicegate.serving.in_progress import Accepted
from sluicegate.serving.links.links import address
from sluicegate.serving.service import Service
from sluicegate.state import Principal

__all__ = ["OPERATIONS", "standing"]

_WRITTEN = ("answer_confidence", "approval", "cost_usd", "latency_ms", "path", "policy_pass", "route_confidence")
"""Scores that runs write themselves."""


# --- runs ---


async def ask(request: Request) -> Response:
    caller, asked = await signed(request, messages.Ask)
    asker = acting_for(request, caller, asked.principal)
    service = workflows_of(request).asked_for(asked.workflow)
    run = request.state.run = service.run_id(asker, asked.request_id) if asked.request_id else new_run_id()
    progress = Progress() if asked.stream else None
    # from here on it is on disk, and found by its id
    accepted = await service.accept(
        asked.text,
        asker,
        attachments=asked.attachments,
        run=run,
        request_id=asked.request_id,
        priority=asked.priority or "",
        session=asked.session,
        on_step=progress.put_from_elsewhere if progress else None,
        on_text=progress.put_from_elsewhere if progress else None,
    )
    # the answer to what another run asks is that run's
    request.state.run = accepted.run
    if progress:
        return StreamingResponse(_events(service, accepted, progress), media_type="text/event-stream")
    return await _ended(service, accepted)


async def _ended(service: Service, accepted: Accepted) -> Response:
    try:
        async with asyncio.timeout(service.limits.timeout_s):
            outcome = await accepted.outcome()
    except TimeoutError:
        return _later(begun(service, accepted.run))
    return _told(outcome)


async def answer(request: Request) -> Response:
    caller, given = await signed(request, messages.Reply)
    asker = acting_for(request, caller, given.principal)
    service, run = await of_run(request)
    text, _ = clean(given.text)
    return await _ended(service, await service.accept_decision(run, "answer", asker, changed="kept", text=text))


async def _events(service: Service, accepted: Accepted, progress: Progress) -> AsyncGenerator[str]:
    run = accepted.run
    yield _event("run", begun(service, run))
    try:
        async with aclosing(progress_of(accepted, progress)) as following:
            async for one in following:
                if one is None:
                    yield ALIVE
                elif isinstance(one, str):
                    yield _event("text", messages.Text(text=one))
                elif isinstance(one, Outcome):
                    yield _event("result", replies.answered(one))
                else:
                    yield _event("step", messages.StepDone.of(one))
    except SluicegateError as error:
        yield _event("problem", of_error(error, run=run))


async def find(request: Request) -> Response:
    caller = caller_of(request)
    return as_json(await standing(*await of_run(request), caller.principal))


async def trail(request: Request) -> Response:
    caller = caller_of(request)
    service, run = await of_run(request)
    decisions = await service.trail(run, caller.principal)
    keys = messages.Decided.model_fields
    return as_json(
        messages.Trail(run=run, decisions=[messages.Decided(**{key: each[key] for key in keys}) for each in decisions])
    )


async def feedback(request: Request) -> Response:
    caller, given = await signed(request, messages.Feedback)
    service, run = await of_run(request)
    if given.name in _WRITTEN or given.name.startswith("check_"):
        raise Fault(of_status(422, f"name: {given.name} is a score that runs write themselves"))
    labels = service.versions.serving.workflow.config.intents
    if given.name == "correct_intent" and given.value not in labels:
        raise Fault(
            of_status(422, "value: correct_intent must be one of the intents", hint=f"One of: {', '.join(labels)}")
        )
    asker = acting_for(request, caller, given.principal)
    score = await service.feedback(run, asker, given.name, given.value, given.comment)
    return as_json(messages.Given(id=score.id, run=run, name=score.name, value=score.value), 201)


# --- workflows ---


async def workflows(request: Request) -> Response:
    caller_of(request)
    return as_json(
        messages.WorkflowList(
            workflows=[
                messages.WorkflowCard(
                    name=workflow.name,
                    version=workflow.version,
                    digest=workflow.digest,
                    purpose=workflow.config.purpose,
                    conversations=workflow.config.conversation is not None,
                )
                for workflow in (service.versions.serving.workflow for service in workflows_of(request))
            ]
        )
    )


# --- conversations ---


async def conversations(request: Request) -> Response:
    caller, wanted = caller_of(request), query_of(request, messages.ConversationsWanted)
    rows = await workflows_of(request).conversations(caller.principal, workflow=wanted.workflow)
    return as_json(
        messages.Conversations(
            conversations=[
                messages.Conversation(
                    session=row.name,
                    workflow=service.name,
                    turns=row.turns,
                    began_at=datetime.fromisoformat(row.began_at),
                    last_at=datetime.fromisoformat(row.last_at),
                )
                for service, row in rows
            ]
        )
    )


async def turns(request: Request) -> Response:
    caller, wanted = caller_of(request), query_of(request, messages.TurnsWanted)
    rows = await workflows_of(request).asked_for(wanted.workflow).turns(wanted.session, caller.principal)
    shown = [
        messages.Turn(
            number=row.number,
            at=datetime.fromisoformat(row.at),
            question=outcome.state["request"]["text"] if outcome else "",
            result=replies.answered(outcome) if outcome else None,
        )
        for row, outcome in rows
    ]
    return as_json(messages.Turns(session=wanted.session, turns=shown))


# --- approvals ---


async def approvals(request: Request) -> Response:
    caller, wanted = caller_of(request), query_of(request, messages.Page)
    found = await workflows_of(request).approvals(
        caller.principal, limit=wanted.limit, after=wanted.after, workflow=wanted.workflow
    )
    return as_json(messages.Approvals(approvals=[replies.asked(each) for each in found], next=found.next))


async def approval(request: Request) -> Response:
    caller = caller_of(request)
    service, run = await of_run(request)
    return as_json(replies.asked(await service.approval(run, caller.principal)))


async def decide(request: Request) -> Response:
    caller, given = await signed(request, messages.Decide)
    by = acting_for(request, caller, given.principal)
    service, run = await of_run(request)
    accepted = await service.accept_decision(
        run, given.verdict, by, reason=given.reason, text=given.text, arguments=given.arguments, changed=given.changed
    )
    try:
        async with asyncio.timeout(service.limits.timeout_s):
            outcome = await accepted.outcome()
    except TimeoutError:
        said = begun(service, run)
    else:
        said = replies.answered(outcome, edited=given.arguments is not None)
        if not outcome.waiting:
            return as_json(said)
    try:
        await service.find(run, by)
    except NotFoundError:
        # who decides on a run need not be able to see it
        return as_json(said, 202)
    return _later(said)


async def link(request: Request) -> Response:
    caller, given = await signed(request, messages.MakeLink)
    person = acting_for(request, caller, given.principal)
    service, run = await of_run(request)
    made = await service.links.make(run, person, by=caller.principal["id"], hours=given.hours)
    expires = datetime.fromisoformat(made.expires_at)
    return as_json(messages.MadeLink(id=made.id, path=address("", made), expires=expires), 201)


# --- the server's own ---


async def health(request: Request) -> Response:
    del request
    return JSONResponse({"status": "up"})


async def ready(request: Request) -> Response:
    workflows = workflows_of(request)
    said = messages.Health(
        status="ready" if workflows.ready else "closing",
        inside=workflows.inside,
        fault=workflows.fault.code if workflows.fault else "",
        workflows=[_served(service) for service in workflows],
    )
    return as_json(said, 200 if workflows.ready else 503)


def _served(service: Service) -> messages.Served:
    workflow, fault = service.versions.serving.workflow, service.versions.fault
    exports = [
        messages.Export(
            to=report.destination.partition(" ")[0],
            unsent=report.waiting + report.dropped,
            last_outage=datetime.fromtimestamp(report.failed_ns / 1e9, UTC) if report.failed_ns else None,
        )
        for report in service.versions.serving.tracer.report()
    ]
    retriever = service.versions.serving.retriever
    stored = [
        messages.StoredIndex(
            index=name,
            version=status.version,
            confirmed=datetime.fromtimestamp(status.confirmed, UTC),
            stale=bool(status.fault),
        )
        for name, status in (retriever.stored() if retriever else {}).items()
    ]
    return messages.Served(
        workflow=service.name,
        version=workflow.version,
        digest=workflow.digest,
        promoted=service.versions.promoted,
        inside=service.inside,
        shadow=service.shadow,  # pyright: ignore[reportArgumentType]
        fault=fault.code if fault else "",
        exports=exports,
        stored=stored,
    )


class Up(BaseModel):
    status: str


_APPROVAL_LINKS: dict[str, tuple[str, str]] = dict.fromkeys(("approval", "decide"), ("id", "approvals/0/id"))
_RUN_LINKS: dict[str, tuple[str, str]] = dict.fromkeys(("run", "answer", "trail", "feedback", "decide"), ("id", "run"))

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST", "/v1/runs", "ask", "Send a request", ask, messages.Run, messages.Ask,
        (200, 202), (401, 403, 408, 409, 413, 415, 422, 429, 500, 502, 503), streams=True, links=_RUN_LINKS,
    ),
    Operation(
        "GET", "/v1/runs/{id}", "run", "The current state of a run", find, messages.Run, problems=(401, 404, 503)
    ),
    Operation(
        "POST", "/v1/runs/{id}/answer", "answer", "Answer what a run asks you", answer, messages.Run, messages.Reply,
        (200, 202), (401, 403, 404, 408, 409, 413, 415, 422, 429, 500, 502, 503),
    ),
    Operation(
        "GET", "/v1/runs/{id}/trail", "trail", "The decisions of a run", trail, messages.Trail,
        problems=(401, 404, 503),
    ),
    Operation(
        "POST", "/v1/runs/{id}/feedback", "feedback", "Score a run", feedback, messages.Given, messages.Feedback,
        (201,), (401, 403, 404, 408, 413, 415, 422, 503),
    ),
    Operation(
        "GET", "/v1/workflows", "workflows", "The workflows that are served", workflows, messages.WorkflowList,
        problems=(401, 503),
    ),
    Operation(
        "GET", "/v1/conversations", "conversations", "Your conversations", conversations, messages.Conversations,
        problems=(401, 422, 503), query=messages.ConversationsWanted,
        links={"turns": ("session", "conversations/0/session")},
    ),
    Operation(
        "GET", "/v1/turns", "turns", "The turns of one of your conversations", turns, messages.Turns,
        problems=(401, 404, 422, 503), query=messages.TurnsWanted,
    ),
    Operation(
        "GET", "/v1/approvals", "approvals", "Waiting runs that you may decide", approvals,
        messages.Approvals, problems=(401, 422, 503), query=messages.Page,
        links=_APPROVAL_LINKS,
    ),
    Operation(
        "GET", "/v1/approvals/{id}", "approval", "The evidence for a decision", approval, messages.Approval,
        problems=(401, 403, 404, 409, 503),
    ),
    Operation(
        "POST", "/v1/approvals/{id}", "decide", "Approve, edit or reject", decide, messages.Run, messages.Decide,
        (200, 202), (401, 403, 404, 408, 409, 413, 415, 422, 500, 502, 503),
    ),
    Operation(
        "POST", "/v1/approvals/{id}/links", "link", "Make a link by which one person decides, once", link,
        messages.MadeLink, messages.MakeLink, (201,), (401, 403, 404, 408, 409, 413, 415, 422, 503),
    ),
    Operation("GET", "/healthz", "health", "Whether the process is up", health, Up, problems=(), signed_in=False),
    Operation(
        "GET", "/readyz", "ready", "Whether requests are accepted, and which versions serve", ready, messages.Health,
        statuses=(200, 503), problems=(), signed_in=False,
    ),
)  # fmt: skip


# --- shared ---


async def standing(service: Service, run: str, asker: Principal) -> messages.Run:
    """A run's state as this person may know of it. Raises as `Service.find`."""
    outcome, row = await service.find(run, asker)
    failed = row["status"] == "failed"
    if outcome is None:
        facts = {key: row[key] for key in ("workflow", "version", "digest")}
        return replies.begun(run, **facts, failed=failed)
    # the error's words are the trace's, for those who may read it
    reason = "a step failed; send the request again with the same id" if failed else ""
    if isinstance(row.get("failure"), GivenUpError):
        reason = "it was given up, since it ended every process that carried it; an operator has to see to it"
    return replies.answered(outcome, status="failed" if failed else "", reason=reason)


def _told(outcome: Outcome) -> Response:
    said = replies.answered(outcome)
    return _later(said) if outcome.waiting else as_json(said)


def _later(said: messages.Run) -> Response:
    response = as_json(said, 202)
    response.headers["location"] = f"/v1/runs/{said.run}"
    return response


def _event(name: str, said: BaseModel) -> str:
    return f"event: {name}\ndata: {json.dumps(said.model_dump(mode='json'), ensure_ascii=False)}\n\n"
