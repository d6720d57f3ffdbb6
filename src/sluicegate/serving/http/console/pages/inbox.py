"""What waits for the viewer, longest-waiting first."""

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from sluicegate.serving.http.calls import query_of, workflows_of
from sluicegate.serving.http.console.guarding import viewer_of
from sluicegate.serving.http.console.page import HOME, Page, PageRoute
from sluicegate.serving.http.console.rendering import is_partial, render

__all__ = ["PAGE"]

_MOST = 25


class _Place(BaseModel):
    model_config = ConfigDict(extra="ignore")

    after: str = Field(default="", pattern=r"^[0-9A-Za-z-]{0,64}$")
    """The `next` of the page before."""


async def inbox(request: Request) -> Response:
    after = query_of(request, _Place).after
    found = await workflows_of(request).approvals(viewer_of(request).principal, limit=_MOST, after=after)
    template = "inbox_list.html" if is_partial(request) else "inbox.html"
    return render(request, template, waiting=found, next=found.next, after=after, now=datetime.now(UTC))


PAGE = Page("Inbox", [PageRoute(HOME, inbox)])
