"""Incidents, what was done about them, and whether the audit log is whole."""

import asyncio
from typing import Any, get_args

from starlette.requests import Request
from starlette.responses import Response

from sluicegate.errors import NotFoundError
from sluicegate.observe.incidents import Incident, Severity
from sluicegate.serving.http.console.guarding import form_of, see_other
from sluicegate.serving.http.console.page import ROOT, Page, PageRoute
from sluicegate.serving.http.console.pages.operating import rights
from sluicegate.serving.http.console.rendering import render
from sluicegate.serving.operating import audit_state, incident_log

__all__ = ["PAGE"]

_LIST = f"{ROOT}/incidents"
_STATES = ("open", "closed", "all")
AUDIT = "audit log"
"""The system of incidents that are about the log itself."""


async def incidents(request: Request) -> Response:
    rights.seen(request)
    asked: Any = request.query_params.get("status", "open")
    status = asked if asked in _STATES else "open"
    found = await asyncio.to_thread(incident_log.listed, status)
    audit = await asyncio.to_thread(audit_state.latest) if rights.sees(request, AUDIT) else None
    return render(
        request,
        "operating/incidents.html",
        incidents=[each for each in found if rights.sees(request, each["system"])],
        chosen=status,
        choices=_STATES,
        audit=audit,
        may_verify=rights.may(request, "incident", AUDIT),
    )


async def incident(request: Request) -> Response:
    return _shown(request, await _one(request))


async def note(request: Request) -> Response:
    found = await _changed(request)
    form = form_of(request)
    text, wrong = rights.reason_of(request, "note")
    severity: Any = str(form.get("severity", ""))
    impact = str(form.get("impact", "")).strip()
    if severity not in ("", *get_args(Severity)):
        wrong = wrong or "Choose one of the severities"
    if len(impact) > rights.LONGEST:
        wrong = wrong or f"At most {rights.LONGEST:,} characters in the impact"
    if wrong:
        return _shown(request, found, note=text, wrong_note=wrong)
    by, seen = rights.operates(request), rights.number_of(form.get("seen"))
    await asyncio.to_thread(
        incident_log.annotated, found["id"], text, by=by, severity=severity or None, impact=impact, seen=seen
    )
    return see_other(f"{_LIST}/{found['id']}")


async def close(request: Request) -> Response:
    found = await _changed(request)
    text, wrong = rights.reason_of(request, "resolution")
    if wrong:
        return _shown(request, found, resolution=text, wrong_resolution=wrong)
    await asyncio.to_thread(incident_log.closed, found["id"], text, by=rights.operates(request))
    return see_other(f"{_LIST}/{found['id']}")


async def verify(request: Request) -> Response:
    rights.seen(request)
    rights.check_operating(request, "incident", AUDIT)
    seen = str(form_of(request).get("seen", ""))
    await asyncio.to_thread(audit_state.verified_once, seen)
    return see_other(_LIST)


async def _one(request: Request) -> Incident:
    rights.seen(request)
    named: str = request.path_params["id"]
    found = await asyncio.to_thread(incident_log.one, named)
    # the store takes the beginning of an id too; an address has a whole one
    if found["id"] != named or not rights.sees(request, found["system"]):
        raise NotFoundError(f"no incident {named!r} that you may see", hint="Choose one of the list")
    return found


async def _changed(request: Request) -> Incident:
    found = await _one(request)
    rights.check_operating(request, "incident", found["system"])
    return found


def _shown(request: Request, found: Incident, **told: str) -> Response:
    wrong = {"note": "", "resolution": "", "wrong_note": "", "wrong_resolution": "", **told}
    return render(
        request,
        "operating/incident.html",
        incident=found,
        severities=get_args(Severity),
        may_change=rights.may(request, "incident", found["system"]),
        status=422 if told else 200,
        **wrong,
    )


PAGE = Page(
    "Incidents",
    [
        PageRoute(_LIST, incidents),
        PageRoute(f"{_LIST}/verify", verify, "POST"),
        PageRoute(f"{_LIST}/{{id}}", incident),
        PageRoute(f"{_LIST}/{{id}}/note", note, "POST"),
        PageRoute(f"{_LIST}/{{id}}/close", close, "POST"),
    ],
    rights.shown,
)
