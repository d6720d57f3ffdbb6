"""The page of an approval link: the same evidence, for the person whom the link is for, who need not be signed in.

Opening it changes nothing. What cannot be done by the link is answered with one plain sentence.
"""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from sluicegate.errors import RunError, SluicegateError
from sluicegate.evals.promotion.champions import Changed
from sluicegate.graphs.runtime.waiting.approvals import DecisionDetails
from sluicegate.serving.http.callers import FixedCaller
from sluicegate.serving.http.calls import workflows_of
from sluicegate.serving.http.console.guarding import caller_by
from sluicegate.serving.http.console.page import PageRoute
from sluicegate.serving.http.console.pages.approval import DecisionPage, decision_taken, edit_previewed, evidence_shown
from sluicegate.serving.http.console.rendering import render
from sluicegate.serving.http.problems import of_error
from sluicegate.serving.links.links import PLACE
from sluicegate.serving.links.rows import LinkRows

__all__ = ["ROUTES"]

_PATH = f"{PLACE}/{{token}}"


def _by_link(
    handler: Callable[[Request, DecisionPage], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    async def handling(request: Request) -> Response:
        try:
            return await handler(request, await _case(request))
        except SluicegateError as error:
            problem = of_error(error)
            said = f"{problem.detail.rstrip('.')}."
            return render(request, "link.html", status=problem.status, heading="This link does nothing", said=said)

    return handling


async def _case(request: Request) -> DecisionPage:
    token: str = request.path_params["token"]
    link = await asyncio.to_thread(LinkRows().of, token)
    service = await workflows_of(request).of_run(link.run)
    by = _signed_in(request)
    await service.links.open(token, signed_in=by)
    request.state.run = link.run
    request.state.caller = request.state.principal = link.person["id"]

    async def accept(verdict: str, changed: Changed, details: DecisionDetails) -> None:
        await service.links.decide(token, verdict, changed=changed, signed_in=by, **details)

    def done(verdict: str) -> Response:
        said = {"approve": "You approved this.", "edit": "You edited this and sent it.", "reject": "You rejected this."}
        return render(request, "link.html", heading="Decided", said=f"{said[verdict]} The link is used up.")

    return DecisionPage(service, link.run, link.person, f"{PLACE}/{token}", accept, done, polled=False)


def _signed_in(request: Request) -> str:
    """Who is known to look, if anybody is; where everybody counts as one person, nobody has signed in."""
    if isinstance(request.app.state.callers, FixedCaller):
        return ""
    try:
        return caller_by(request, request.state.session.token).principal["id"]
    except RunError:
        return ""


ROUTES = [
    PageRoute(_PATH, _by_link(evidence_shown)),
    PageRoute(_PATH, _by_link(decision_taken), "POST"),
    PageRoute(f"{_PATH}/edit", _by_link(edit_previewed), "POST"),
    PageRoute(f"{_PATH}/edit", _by_link(evidence_shown)),
]
