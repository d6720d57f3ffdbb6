"""Workflows: the graph, guarantees with their proofs, waivers, and the versions that have served."""

import asyncio
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from sluicegate.evals.promotion import champions
from sluicegate.graphs.config.check import told_guarantees
from sluicegate.graphs.config.load import Workflow
from sluicegate.graphs.picture.picture import svg
from sluicegate.graphs.proofs.told import ToldGuarantee
from sluicegate.graphs.runtime.versions import kept_here
from sluicegate.serving.http.console.guarding import form_of, see_other
from sluicegate.serving.http.console.page import ROOT, Page, PageRoute
from sluicegate.serving.http.console.pages.operating import rights
from sluicegate.serving.http.console.rendering import render
from sluicegate.serving.operating import comparisons
from sluicegate.serving.service import Service

__all__ = ["PAGE"]

_LIST = f"{ROOT}/workflows"
_MOST = 100
"""Kept versions that are listed."""


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What follows from a version alone."""

    picture: Markup
    guarantees: list[ToldGuarantee]


_drawn: dict[str, _Drawn] = {}
_KEPT = 32


def _of(workflow: Workflow) -> _Drawn:
    if workflow.digest not in _drawn:
        while len(_drawn) >= _KEPT:
            _drawn.pop(next(iter(_drawn)), None)
        title = f"{workflow.name}, version {workflow.version}"
        # its texts are escaped by `svg`
        picture = Markup(svg(workflow.flow, title=title, styled=False))  # noqa: S704
        _drawn[workflow.digest] = _Drawn(picture, told_guarantees(workflow))
    return _drawn[workflow.digest]


async def workflows(request: Request) -> Response:
    rows = [_summary(service) for service in rights.seen(request)]
    return render(request, "operating/workflows.html", rows=rows)


def _summary(service: Service) -> dict[str, Any]:
    workflow, served = service.versions.serving.workflow, champions.history(service.name)
    waived = len({waiver.guarantee for waiver in workflow.waivers})
    return {"workflow": workflow, "served": served[-1] if served else None, "waived": waived, "shadow": service.shadow}


async def workflow(request: Request) -> Response:
    service = rights.seen_one(request)
    workflow = service.versions.serving.workflow
    drawn, kept, shadows = await asyncio.to_thread(
        lambda: (_of(workflow), kept_here(service.name)[:_MOST], comparisons.shadows(service.name))
    )
    return render(
        request,
        "operating/workflow.html",
        workflow=workflow,
        drawn=drawn,
        fault=service.versions.fault,
        history=champions.history(service.name)[::-1],
        kept=kept,
        shadows=shadows,
        may_promote=rights.may(request, "promote", service.name),
        may_roll_back=rights.may(request, "rollback", service.name),
    )


async def roll_back_page(request: Request) -> Response:
    service = rights.seen_one(request)
    rights.check_operating(request, "rollback", service.name)
    return _roll_back(request, service)


async def roll_back(request: Request) -> Response:
    service = rights.seen_one(request)
    rights.check_operating(request, "rollback", service.name)
    reason, wrong = rights.reason_of(request)
    if wrong:
        return _roll_back(request, service, reason, wrong)
    serving = rights.number_of(form_of(request).get("serving"))
    await asyncio.to_thread(
        lambda: champions.rollback(service.name, by=rights.operates(request), reason=reason, serving=serving)
    )
    return see_other(f"{_LIST}/{service.name}")


def _roll_back(request: Request, service: Service, reason: str = "", wrong: str = "") -> Response:
    served = champions.history(service.name)
    target = next((each for each in served if each["version"] == served[-1]["back"]), None)
    return render(
        request,
        "operating/roll_back.html",
        name=service.name,
        now=served[-1] if served else None,
        target=target,
        reason=reason,
        wrong=wrong,
        status=422 if wrong else 200,
    )


async def promote_page(request: Request) -> Response:
    service, number = _promotable(request)
    return await _promote(request, service, number)


async def promote(request: Request) -> Response:
    service, number = _promotable(request)
    note, wrong = rights.reason_of(request)
    if wrong:
        return await _promote(request, service, number, note, wrong)
    serving, champion = rights.number_of(form_of(request).get("serving")), service.versions.serving.workflow
    by = rights.operates(request)
    await asyncio.to_thread(lambda: comparisons.promoted(champion, number, by=by, note=note, serving=serving))
    return see_other(f"{_LIST}/{service.name}")


def _promotable(request: Request) -> tuple[Service, int]:
    service = rights.seen_one(request)
    rights.check_operating(request, "promote", service.name)
    return service, rights.number_of(request.path_params["number"])


async def _promote(request: Request, service: Service, number: int, note: str = "", wrong: str = "") -> Response:
    champion = service.versions.serving.workflow
    judged = await asyncio.to_thread(comparisons.judged, champion, number)
    served = champions.history(service.name)
    return render(
        request,
        "operating/promote.html",
        name=service.name,
        judged=judged,
        serving=served[-1]["version"] if served else 0,
        reason=note,
        wrong=wrong,
        status=422 if wrong else 200,
    )


PAGE = Page(
    "Workflows",
    [
        PageRoute(_LIST, workflows),
        PageRoute(f"{_LIST}/{{name}}", workflow),
        PageRoute(f"{_LIST}/{{name}}/roll-back", roll_back_page),
        PageRoute(f"{_LIST}/{{name}}/roll-back", roll_back, "POST"),
        PageRoute(f"{_LIST}/{{name}}/promote/{{number}}", promote_page),
        PageRoute(f"{_LIST}/{{name}}/promote/{{number}}", promote, "POST"),
    ],
    rights.shown,
)
