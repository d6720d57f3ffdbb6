"""The router: thresholds and what they promise, what the runs show of them, and whether requests have changed."""

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from sluicegate.graphs.config.load import Workflow
from sluicegate.routing.joint.thresholds import sentence
from sluicegate.routing.monitoring.plots import drift_svg, reliability_svg
from sluicegate.serving.http.console.guarding import see_other
from sluicegate.serving.http.console.page import ROOT, Page, PageRoute
from sluicegate.serving.http.console.pages.operating import rights
from sluicegate.serving.http.console.rendering import render
from sluicegate.serving.operating.router_figures import MOST, cards_of, reliability_of, runs_of

__all__ = ["PAGE"]

_LIST = f"{ROOT}/router"
_DAYS = (1, 7, 14)


async def first(request: Request) -> Response:
    return see_other(f"{_LIST}/{rights.seen(request)[0].name}")


async def router(request: Request) -> Response:
    service = rights.seen_one(request)
    asked = request.query_params.get("days", "")
    days = int(asked) if asked in map(str, _DAYS) else 7
    values = await asyncio.to_thread(_values, service.versions.serving.workflow, days)
    names = [each.name for each in rights.seen(request)]
    return render(request, "operating/router.html", names=names, days=days, choices=_DAYS, most=MOST, **values)


def _values(workflow: Workflow, days: int) -> dict[str, Any]:
    cards, fault = cards_of(workflow)
    by_task = {card["task"]: card for card in cards}
    intents = by_task.get("intent")
    threshold = _threshold(workflow, intents)
    runs, measured = runs_of(workflow, days=days, now=datetime.now(UTC)), reliability_of(workflow.name)
    title = f"Mean confidence and out-of-scope rate of {workflow.name} by day"
    drawn = drift_svg(runs.days, threshold=threshold, boundary=runs.boundary, title=title) if runs.days else ""
    reliable = ""
    if measured and measured.bins:
        bins = [asdict(each) for each in measured.bins]
        reliable = reliability_svg(bins, threshold=threshold, title=f"Reliability of the intents of {workflow.name}")
    joint = by_task.get("joint")
    return {
        "workflow": workflow,
        "fault": fault,
        "intents": intents,
        "threshold": threshold,
        "answers": [card for card in cards if card["task"] == "answer"],
        "escalation": by_task.get("escalate"),
        "joint": sentence(joint) if joint else "",
        "runs": runs,
        # their texts are escaped where they are drawn
        "drift_plot": Markup(drawn),  # noqa: S704
        "measured": measured,
        "reliability_plot": Markup(reliable),  # noqa: S704
    }


def _threshold(workflow: Workflow, card: dict[str, Any] | None) -> float | None:
    """The one that a plot can show: the same for every intent."""
    if workflow.config.router.threshold is not None:
        return workflow.config.router.threshold
    if card is None or workflow.config.router.target.per == "intent" or not card["threshold"]["proved"]:
        return None
    return float(card["threshold"]["value"])


PAGE = Page("Router", [PageRoute(_LIST, first), PageRoute(f"{_LIST}/{{name}}", router)], rights.shown)
