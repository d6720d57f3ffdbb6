"""The runs, newest first, as they begin and change."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from sluicegate.errors import NotFoundError
from sluicegate.observe.tracing.reading.feed import Anew, Change
from sluicegate.observe.tracing.reading.filters import RunFilter, matches
from sluicegate.serving.http.calls import workflows_of
from sluicegate.serving.http.console.guarding import see_other, still_viewing, viewer_of
from sluicegate.serving.http.console.page import ROOT, Page, PageRoute
from sluicegate.serving.http.console.pages.records.choosing import chosen_by, offered
from sluicegate.serving.http.console.pages.records.one import ROUTES, records_of
from sluicegate.serving.http.console.rendering import environment, is_partial, render
from sluicegate.serving.http.events import ALIVE

__all__ = ["PAGE"]

_PATH = f"{ROOT}/runs"
_MOST = 50
"""Runs of one page."""
_CHECK_S = 5.0
"""Seconds until a viewer to whom nothing was told is asked for again; proxies also see that the stream lives."""


async def runs(request: Request) -> Response:
    records, person = records_of(request), viewer_of(request).principal
    chosen = chosen_by(request.query_params, records)
    if (run := chosen.typed["run"]) and not is_partial(request):
        try:
            await asyncio.to_thread(records.one, run, person)
            return see_other(f"{_PATH}/{run}")
        except NotFoundError:
            # the start of an id, perhaps
            pass
    after = request.query_params.get("after", "")
    found, seen = await asyncio.to_thread(records.page, chosen.which, person, limit=_MOST, after=after)
    return render(
        request,
        "records/list.html" if is_partial(request) else "records/runs.html",
        rows=found.rows,
        chosen=chosen,
        offered=offered([*workflows_of(request)]),
        everybody=records.sees_all(person),
        newest=not after,
        feed=chosen.address(f"{_PATH}/changes", since=str(seen)),
        first=chosen.address(_PATH),
        older=chosen.address(_PATH, after=found.next) if found.next else "",
        most=_MOST,
    )


async def changes(request: Request) -> Response:
    """Server-sent events: each run that begins or changes, as its row, or without one where it is none of the list."""
    chosen = chosen_by(request.query_params, records_of(request))
    seen = request.headers.get("last-event-id") or request.query_params.get("since", "")
    since = int(seen) if seen.isascii() and seen.isdecimal() and len(seen) < 19 else 0
    return StreamingResponse(_events(request, chosen.which, since), media_type="text/event-stream")


async def _events(request: Request, which: RunFilter, since: int) -> AsyncGenerator[str]:
    records = records_of(request)
    async with aclosing(records.feed.follow(since, alive_s=_CHECK_S)) as following:
        async for one in following:
            # before each word: who may see it is asked now, not when the stream began
            viewer = still_viewing(request)
            if viewer is None:
                yield "event: end\ndata: \n\n"
                return
            if not workflows_of(request).ready:
                # another server, or this one when it is back, goes on from the last number
                return
            if one is None:
                yield ALIVE
            elif isinstance(one, Anew):
                yield f"id: {records.feed.last}\nevent: anew\ndata: \n\n"
            elif records.sees(one.run, viewer.principal):
                told = {"run": one.run["run_id"], "row": _row(one) if matches(which, one.run) else ""}
                yield f"id: {one.seq}\nevent: run\ndata: {json.dumps(told)}\n\n"


def _row(change: Change) -> str:
    """Made once, for all viewers."""
    if "row" not in change.shapes:
        change.shapes["row"] = _template(change.run)
    return change.shapes["row"]


def _template(run: Mapping[str, Any]) -> str:
    return environment().get_template("records/row.html").render(run=run)


PAGE = Page("Runs", [PageRoute(_PATH, runs), PageRoute(f"{_PATH}/changes", changes), *ROUTES])
