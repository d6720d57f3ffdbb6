"""A decision: the evidence on one page, an edit that is seen before it is sent, and what was decided."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response

from sluicegate.errors import NotFoundError, NotWaitingError, SluicegateError
from sluicegate.evals.promotion.champions import Changed
from sluicegate.graphs.runtime.intake import printable
from sluicegate.graphs.runtime.waiting.approvals import DecisionDetails, Waiting
from sluicegate.serving.evidence import Evidence
from sluicegate.serving.http.calls import Fault, of_run
from sluicegate.serving.http.console.argument_form import argument_fields, read_arguments
from sluicegate.serving.http.console.differences import changed_arguments, text_difference
from sluicegate.serving.http.console.guarding import form_of, see_other, viewer_of
from sluicegate.serving.http.console.page import ROOT, Handler, Page, PageRoute
from sluicegate.serving.http.console.rendering import render
from sluicegate.serving.http.problems import of_error, of_status
from sluicegate.serving.service import Service
from sluicegate.state import Principal

__all__ = ["PAGE", "DecisionPage", "decision_taken", "edit_previewed", "evidence_shown"]

_PATH = f"{ROOT}/approvals/{{id}}"
_REASON, _TEXT = 2_000, 200_000
"""Characters of what somebody may write, as over the API."""


@dataclass(frozen=True, slots=True)
class DecisionPage:
    """Who decides on what, and where the forms of the page go."""

    service: Service
    run: str
    person: Principal
    base: str
    """The address of the page."""
    accept: Callable[[str, Changed, DecisionDetails], Awaitable[object]]
    """Takes a verdict, as `Service.accept_decision` does."""
    done: Callable[[str], Response]
    """What is answered when it was taken."""
    polled: bool = True
    """The page looks now and then whether it still waits."""


async def _case(request: Request) -> DecisionPage:
    service, run = await of_run(request)
    person = viewer_of(request).principal

    async def accept(verdict: str, changed: Changed, details: DecisionDetails) -> None:
        await service.accept_decision(run, verdict, person, changed=changed, **details)

    return DecisionPage(service, run, person, f"{ROOT}/approvals/{run}", accept, lambda _: see_other(request.url.path))


def _of_viewer(handler: Callable[[Request, DecisionPage], Awaitable[Response]]) -> Handler:
    async def handling(request: Request) -> Response:
        return await handler(request, await _case(request))

    return handling


async def evidence_shown(request: Request, case: DecisionPage) -> Response:
    return await _page(request, case)


async def standing(request: Request) -> Response:
    """Whether it still waits, fetched now and then while somebody looks at it."""
    case = await _case(request)
    waiting, decision = await case.service.standing(case.run, case.person)
    return render(
        request, "approval_standing.html", case=case, waiting=waiting, decision=decision, now=datetime.now(UTC)
    )


async def edit_previewed(request: Request, case: DecisionPage) -> Response:
    """An edit beside what it changes, before it is sent."""
    form = form_of(request)
    evidence = await case.service.evidence(case.run, case.person)
    if evidence.decision:
        return await _page(request, case, evidence)
    wrong = _too_long(form.get("reason", ""), form.get("text", ""))
    if evidence.call:
        changes, misfits = read_arguments(evidence.call, dict(form))
        if misfits or wrong:
            wrong = wrong or misfits.get("", "")
            return await _page(request, case, evidence, wrong=wrong, misfits=misfits, status=422)
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
            return await _page(request, case, evidence, wrong=wrong, status=422)
        preview = {"pieces": text_difference(draft, text), "field": ("text", text)}
    return await _page(request, case, evidence, preview=preview)


async def decision_taken(request: Request, case: DecisionPage) -> Response:
    form = form_of(request)
    verdict, text = form.get("verdict", ""), form.get("text", "").replace("\r\n", "\n")
    details: DecisionDetails = {"reason": form.get("reason", "").strip(), "asked_at": form.get("asked_at", "")}
    if verdict == "edit":
        details["text"], details["arguments"] = text, _arguments(form.get("arguments", ""))
    if wrong := _too_long(details["reason"], text):
        return await _page(request, case, wrong=wrong, status=422)
    changed = form.get("changed", "refuse")
    if changed not in ("refuse", "kept", "migrate"):
        raise Fault(of_status(422, "changed is one of refuse, kept, migrate"))
    try:
        await case.accept(verdict, changed, details)
    except NotWaitingError as error:
        # who has pressed twice, or was second, is told what was decided
        evidence = await case.service.evidence(case.run, case.person)
        if evidence.decision or evidence.waiting["asked_at"] != details["asked_at"]:
            return await _page(request, case, evidence, late=True, status=409)
        problem = of_error(error)
    except NotFoundError:
        raise
    except SluicegateError as error:
        problem = of_error(error)
    else:
        return case.done(verdict)
    wrong = ". ".join(filter(None, (problem.detail, problem.hint)))
    return await _page(request, case, wrong=wrong, status=problem.status)


async def _page(
    request: Request,
    case: DecisionPage,
    evidence: Evidence | None = None,
    *,
    wrong: str = "",
    misfits: dict[str, str] | None = None,
    preview: dict[str, Any] | None = None,
    late: bool = False,
    status: int = 200,
) -> Response:
    """The page, with what somebody has typed so far."""
    evidence = evidence or await case.service.evidence(case.run, case.person)
    typed = dict(form_of(request)) if request.method == "POST" else {}
    waiting, call = evidence.waiting, evidence.call
    editing = bool(typed) and (request.url.path.endswith("/edit") or typed.get("verdict") == "edit")
    # what is sent from the preview has the arguments in one piece
    in_fields = typed if editing and "arguments" not in typed else None
    try:
        trail = await case.service.trail(case.run, case.person)
    except NotFoundError:
        trail = None
    return render(
        request,
        "approval.html",
        status=status,
        case=case,
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
        PageRoute(_PATH, _of_viewer(evidence_shown)),
        PageRoute(_PATH, _of_viewer(decision_taken), "POST"),
        PageRoute(f"{_PATH}/edit", _of_viewer(edit_previewed), "POST"),
        # who comes back to it by signing in begins anew
        PageRoute(f"{_PATH}/edit", _of_viewer(evidence_shown)),
        PageRoute(f"{_PATH}/standing", standing),
    ],
)
