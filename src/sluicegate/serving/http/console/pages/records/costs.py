"""What was spent on each day, as a picture and as a table, and what the caps leave."""

import asyncio
from collections.abc import Sequence
from typing import Literal, cast

from starlette.requests import Request
from starlette.responses import Response

from sluicegate.serving.http.calls import workflows_of
from sluicegate.serving.http.console.guarding import viewer_of
from sluicegate.serving.http.console.page import ROOT, Page, PageRoute
from sluicegate.serving.http.console.pages.records.bars import stacked_bars
from sluicegate.serving.http.console.pages.records.one import records_of
from sluicegate.serving.http.console.rendering import render
from sluicegate.serving.records.costs import CapUse, Costs, cap_uses, costs

__all__ = ["PAGE"]

_PATH = f"{ROOT}/costs"
_BY = {"path": "Path", "workflow": "Workflow", "model": "Model"}
_WHAT = {"usd": "Dollars", "tokens": "Tokens"}
_SHOWN = 6
"""Names with a colour of their own; what is left is put together."""


async def spent(request: Request) -> Response:
    person, services, records = viewer_of(request).principal, [*workflows_of(request)], records_of(request)
    choices: dict[str, dict[str, str]] = {
        "by": _BY,
        "what": _WHAT,
        "days": {str(each): f"{each} days" for each in (14, 7, 30, 90)},
    }
    if len(services) > 1:
        choices["workflow"] = {"": "All"} | {each.name: each.name for each in services}
    # what is none of the choices is the first of them
    asked = {name: request.query_params.get(name, "") for name in choices}
    chosen = {name: asked[name] if asked[name] in those else next(iter(those)) for name, those in choices.items()}
    by, what = cast('Literal["path", "workflow", "model"]', chosen["by"]), chosen["what"]

    def read() -> tuple[Costs, list[CapUse]]:
        found = costs(records, services, person, by=by, days=int(chosen["days"]), workflow=chosen.get("workflow", ""))
        return found, cap_uses(services, person)

    found, caps = await asyncio.to_thread(read)
    series = _series(found, what)
    return render(
        request,
        "records/costs.html",
        choices=choices,
        labels={"by": "By", "what": "Of", "days": "Of the last", "workflow": "Workflow"},
        chosen=chosen,
        everybody=records.sees_all(person),
        costs=found,
        what=what,
        picture=stacked_bars(found.days, series, unit=what, title=f"{_WHAT[what]} a day by {by}"),
        series=[name for name, _ in series],
        caps=caps,
    )


def _series(found: Costs, what: str) -> list[tuple[str, list[float]]]:
    """The amounts of each name by the day; those of many names in one."""

    def amounts(names: Sequence[str]) -> list[float]:
        return [sum(float(getattr(found.total(day=day, name=name), what)) for name in names) for day in found.days]

    series = [(name, amounts([name])) for name in found.names[:_SHOWN]]
    rest = found.names[_SHOWN:]
    return [*series, (f"{len(rest)} more", amounts(rest))] if rest else series


PAGE = Page("Costs", [PageRoute(_PATH, spent)])
