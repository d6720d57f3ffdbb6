"""What waits for the viewer, longest-waiting first."""

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from sluicegate.serving.http.calls import workflows_of
from sluicegate.serving.http.console.guarding import viewer_of
from sluicegate.serving.http.console.page import HOME, ROOT, Page, PageRoute
from sluicegate.serving.http.console.rendering import is_partial, render

__all__ = ["PAGE"]

_MOST = 50


async def inbox(request: Request) -> Response:
    found = await workflows_of(request).approvals(viewer_of(request).principal, limit=_MOST)
    template = "inbox_list.html" if is_partial(request) else "inbox.html"
    return render(request, template, waiting=found, more=bool(found.next), now=datetime.now(UTC))


PAGE = Page("Inbox", [PageRoute(HOME, inbox), PageRoute(f"{ROOT}/inbox", inbox)])
