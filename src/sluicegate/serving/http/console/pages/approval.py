"""A decision: the evidence on one page, an edit that is seen before it is sent, and what was decided."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response

from sluicegate.errors import NotFoundError, NotWaitingError, SluicegateError
from sluicegate.graphs.runtime.approvals import DecisionDetails, Waiting
from sluicegate.graphs.runtime.intake import printable
from sluicegate.serving.evidence import Evidence
from sluicegate.serving.http.calls import Fault, of_run
from sluicegate.serving.http.console.argument_form import argument_fields, read_arguments
from sluicegate.serving.http.console.differences import changed_arguments, text_difference
from sluicegate.serving.http.console.guarding import form_of, see_other, viewer_of
from sluicegate.serving.http.console.page import ROOT, Page, PageRoute
from sluicegate.serving.http.console.rendering import render
from sluicegate.serving.http.problems import of_error, of_status

__all__ = ["PAGE"]

_PATH = f"{ROOT}/approvals/{{id}}"
_REASON, _TEXT = 2_000, 200_000
"""Characters of what somebody may write, as over the API."""


async def shown(request: Request) -> Response:
    return await _page(request)


async def standing(request: Request) -> Response:
    """Whether it still waits, fetched now and then while somebody looks at it."""
    service, run = await of_run(request)
    person = viewer_of(request).principal
    waiting, decision = await service.standing(run, person)
    return render(request, "approval_standing.html", run=run, waiting=waiting, decision=decision, now=datetime.now(UTC))


async def previewed(request: Request) -> Response:
    """An edit beside what it changes, before it is sent."""
    service, run = await of_run(request)
    form = form_of(request)
    evidence = await service.evidence(run, viewer_of(request).principal)
    if evidence.decision:
        return await _page(request, evidence)
    wrong = _too_long(form.get("reason", ""), form.get("text", ""))
    if evidence.call:
        changes, misfits = read_arguments(evidence.call, dict(form))
        if misfits or wrong:
            return await _page(request, evidence, wrong=wrong or misfits.get("", ""), misfits=misfits, status=422)
        merged = {name: value for name, value in {**evidence.call.arguments, **changes}.items() if value is not None}
        preview = {
            "arguments": changed_arguments(evidence.call.arguments, merged),
            "field": ("arguments", json.dumps(changes, ensure_ascii=False)),
        }
    else:
        text = form.get("text", "").replace("\r\n", "\n")
        draft = evidence.waiting["draft"]
        if not text.strip():
            wrong = wrong or "Write the text to send, or reject it to send none"
        elif text == draft and not wrong:
            wrong = "Nothing was changed. To send it as it is, approve it"
        if wrong:
            return await _page(request, evidence, wrong=wrong, status=422)
        preview = {"pieces": text_difference(draft, text), "field": ("text", text)}
    return await _page(request, evidence, preview=preview)


async def decide(request: Request) -> Response:
    form, person = form_of(request), viewer_of(request).principal
    verdict, text = form.get("verdict", ""), form.get("text", "").replace("\r\n", "\n")
    details: DecisionDetails = {"reason": form.get("reason", "").strip(), "asked_at": form.get("asked_at", "")}
    if verdict == "edit":
        details["text"], details["arguments"] = text, _arguments(form.get("arguments", ""))
    service, run = await of_run(request)
    if wrong := _too_long(details["reason"], text):
        return await _page(request, wrong=wrong, status=422)
    changed = form.get("changed", "refuse")
    if changed not in ("refuse", "kept", "migrate"):
        raise Fault(of_status(422, "changed is one of refuse, kept, migrate"))
    try:
        await service.accept_decision(run, verdict, person, changed=changed, **details)
    except NotWaitingError as error:
        # who has pressed twice, or was second, is told what was decided
        evidence = await service.evidence(run, person)
        if evidence.decision or evidence.waiting["asked_at"] != details["asked_at"]:
            return await _page(request, evidence, late=True, status=409)
        problem = of_error(error)
    except NotFoundError:
        raise
    except SluicegateError as error:
        problem = of_error(error)
    else:
        return see_other(request.url.path)
    return await _page(request, wrong=". ".join(filter(None, (problem.detail, problem.hint))), status=problem.status)


async def _page(
    request: Request,
    evidence: Evidence | None = None,
    *,
    wrong: str = "",
    misfits: dict[str, str] | None = None,
    preview: dict[str, Any] | None = None,
    late: bool = False,
    status: int = 200,
) -> Response:
    """The page, with what somebody has typed so far."""
    service, run = await of_run(request)
    person = viewer_of(request).principal
    evidence = evidence or await service.evidence(run, person)
    typed = dict(form_of(request)) if request.method == "POST" else {}
    waiting, call = evidence.waiting, evidence.call
    editing = bool(typed) and (request.url.path.endswith("/edit") or typed.get("verdict") == "edit")
    # what is sent from the preview has the arguments in one piece
    in_fields = typed if editing and "arguments" not in typed else None
    try:
        trail = await service.trail(run, person)
    except NotFoundError:
        trail = None
    return render(
        request,
        "approval.html",
        status=status,
        run=run,
        evidence=evidence,
        waiting=waiting,
        cited={passage.marker for passage in evidence.passages if passage.marker},
        fields=argument_fields(call, typed=in_fields, wrong=misfits) if call else [],
        text=typed.get("text", waiting["draft"]),
        reason=typed.get("reason", ""),
        editing=editing,
        preview=preview,
        wrong=wrong,
        late=late,
        trail=trail,
        deciders=_deciders(waiting),
        decision=evidence.decision,
        now=datetime.now(UTC),
    )


def _deciders(waiting: Waiting) -> list[dict[str, Any]]:
    """Who may decide, each with the time from which on."""
    found: list[dict[str, Any]] = [{"who": waiting["approvers"], "since": None}]
    if later := waiting["escalate_to"]:
        half = datetime.fromisoformat(waiting["asked_at"]) + timedelta(seconds=waiting["timeout_s"] / 2)
        found.append({"who": later, "since": half})
    return found


def _too_long(reason: str, text: str) -> str:
    for what, written, most in (("reason", reason, _REASON), ("text", text, _TEXT)):
        if len(written) > most:
            return f"The {what} has more than {most:,} characters"
        try:
            printable(written)
        except ValueError as error:
            return f"The {what} cannot be sent: {error}"
    return ""


def _arguments(given: str) -> dict[str, Any] | None:
    """What the preview has handed on."""
    if not given:
        return None
    try:
        found = json.loads(given)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Fault(of_status(422, "arguments are a JSON object"))
    return cast("dict[str, Any]", found)


PAGE = Page(
    "",
    [
        PageRoute(_PATH, shown),
        PageRoute(_PATH, decide, "POST"),
        PageRoute(f"{_PATH}/edit", previewed, "POST"),
        # who comes back to it by signing in begins anew
        PageRoute(f"{_PATH}/edit", shown),
        PageRoute(f"{_PATH}/standing", standing),
    ],
)
