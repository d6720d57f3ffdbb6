"""Evaluations that were kept, and challengers in the shadow with the verdict on them."""

import asyncio
from typing import Any

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from sluicegate.errors import NotFoundError, ShadowNotFoundError
from sluicegate.evals.evaluation.summary import FIGURES
from sluicegate.evals.promotion import champions
from sluicegate.evals.report.report import shown
from sluicegate.evals.report.verdict import READING, forest, gate_rows, progress_plots, withheld_note
from sluicegate.serving.http.console.page import ROOT, Page, PageRoute
from sluicegate.serving.http.console.pages.operating import rights
from sluicegate.serving.http.console.rendering import render
from sluicegate.serving.operating import comparisons

__all__ = ["PAGE"]

_LIST = f"{ROOT}/evaluations"
_HEADLINES = ("correct", "intent_accuracy", "escalation_rate", "list_usd")
_MOST = 200
"""Rows of an evaluation that are shown."""


async def evaluations(request: Request) -> Response:
    names = [service.name for service in rights.seen(request)]
    kept, shadows = await asyncio.to_thread(
        lambda: (
            [each for name in names for each in comparisons.kept_evaluations(name)],
            [each for name in names for each in comparisons.shadows(name)],
        )
    )
    rows = [(each, {name: _figure(name, each.metrics.get(name)) for name in _HEADLINES}) for each in kept]
    return render(
        request,
        "operating/evaluations.html",
        rows=rows,
        headlines=[(name, FIGURES[name].title) for name in _HEADLINES],
        shadows=shadows,
    )


async def evaluation(request: Request) -> Response:
    names = [service.name for service in rights.seen(request)]
    number = rights.number_of(request.path_params["number"])
    found = await asyncio.to_thread(comparisons.compared, number)
    if found.evaluation.workflow not in names:
        raise NotFoundError(f"no evaluation {number} that you may see")
    wrong = [row for row in found.rows if row.error or row.metrics.get("correct") == 0.0]
    return render(
        request,
        "operating/evaluation.html",
        evaluation=found.evaluation,
        rows=len(found.rows),
        figures=[
            (name, FIGURES[name].title, _figure(name, figure), figure["n"], _change(name, found.changes.get(name)))
            for name, figure in found.evaluation.metrics.items()
            if name in FIGURES
        ],
        before=found.before,
        differences=found.differences[:_MOST],
        different=len(found.differences),
        wrong=wrong[:_MOST],
        incorrect=len(wrong),
    )


def _figure(name: str, figure: Any) -> str:
    if figure is None:
        return ""
    return f"{shown(name, figure['value'])} ({shown(name, figure['low'])} to {shown(name, figure['high'])})"


def _change(name: str, change: Any) -> tuple[str, str]:
    """In words, and whether it is for the better: ``good``, ``bad`` or empty."""
    if change is None or change.difference is None:
        return "", ""
    difference, better = change.difference, FIGURES[name].better
    low, high = (shown(name, each, signed=True) for each in (difference.low, difference.high))
    tone = ""
    if better and (difference.low > 0 or difference.high < 0):
        tone = "good" if (difference.low > 0) == (better == "higher") else "bad"
    return f"{shown(name, difference.value, signed=True)} ({low} to {high})", tone


async def shadow(request: Request) -> Response:
    services = {service.name: service for service in rights.seen(request)}
    number = rights.number_of(request.path_params["number"])
    at = await asyncio.to_thread(comparisons.shadow, number)
    if at.workflow not in services:
        raise ShadowNotFoundError("no such shadow that you may see")
    judged = await asyncio.to_thread(comparisons.judged, services[at.workflow].versions.serving.workflow, number)
    served = champions.history(at.workflow)
    decision = judged.decision
    return render(
        request,
        "operating/shadow.html",
        at=at,
        decision=decision,
        gates=gate_rows(decision),
        withheld=withheld_note(decision) if decision.withheld else "",
        # their texts are escaped where they are drawn
        reading=READING,
        forest=Markup(forest(decision)),  # noqa: S704
        plots=[(name, Markup(plot)) for name, plot in progress_plots(decision, at)],  # noqa: S704
        serves=bool(served) and served[-1]["digest"] == at.challenger_digest,
        may_promote=rights.may(request, "promote", at.workflow),
    )


PAGE = Page(
    "Evaluations",
    [
        PageRoute(_LIST, evaluations),
        PageRoute(f"{_LIST}/{{number}}", evaluation),
        PageRoute(f"{_LIST}/shadows/{{number}}", shadow),
    ],
    rights.shown,
)
