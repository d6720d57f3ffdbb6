"""Links to one decision: made for a person who may decide now, and asked of the policies again whenever one is used.

A link is for one interrupt of one run as it was shown when the link was made. It lets its person see the evidence, as
far as policy does at that time, and decide once; everything else it is used for does nothing and says why in a
sentence (`RunError` SG650, or what `Runner.decide` raises). Who made it for whom, and each decision by it, are in the
audit log.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Unpack

from sluicegate.errors import NotFoundError, RunError
from sluicegate.evals.promotion.champions import Changed
from sluicegate.graphs.runtime.loop_thread import elsewhere
from sluicegate.graphs.runtime.run import Runner
from sluicegate.graphs.runtime.waiting.approvals import DecisionDetails, Waiting
from sluicegate.graphs.session.checkpoint_reader import approval_state
from sluicegate.observe.audit.log import open_audit
from sluicegate.serving.in_progress import Accepted
from sluicegate.serving.links.rows import REVOKED, ApprovalLink, LinkRows, evidence_hash
from sluicegate.serving.reading import RunReader
from sluicegate.serving.versions import Versions
from sluicegate.state import Principal

__all__ = ["LONGEST_H", "PLACE", "ApprovalLinks", "address", "make_link", "revoke_link"]

PLACE = "/console/approve"
"""Where a server shows the pages of links."""
LONGEST_H = 24 * 30
"""Hours that a link may be used at most."""


def address(base: str, link: ApprovalLink) -> str:
    """Where a server at `base` shows the link's page."""
    return f"{base.rstrip('/')}{PLACE}/{link.token}"


async def make_link(
    runner: Runner, run: str, person: Principal, *, by: str, hours: float = 24, id: str = ""
) -> ApprovalLink:
    """A link by which `person` may decide on what this run waits for; not longer than it waits. `by` is who makes it,
    for the audit log. An `id` that was used before gives the link of then, if it is for what waits now.

    Raises `RunError` SG603, SG604, SG605 (the run does not wait), SG610 (they may not decide now).
    """
    waiting = await runner.may_decide(run, person)
    now = runner.services.now
    until = min(now() + timedelta(hours=min(hours, LONGEST_H)), datetime.fromisoformat(waiting["deadline"]))
    link, new = await asyncio.to_thread(LinkRows(now=now).add, waiting, person, by=by, until=until, id=id)
    if new:
        await asyncio.to_thread(_audited, "approval.link.made", link, by, workflow=waiting["workflow"])
    return link


def revoke_link(start: str, *, by: str) -> ApprovalLink:
    """Revoke the link whose id begins like this, for good. Raises `RunError` SG603 when none or several do, SG650 when
    it has ended before."""
    rows = LinkRows()
    found = rows.find(start=start)
    if len(found) != 1:
        what = f"several links begin with {start!r}" if found else f"no link {start!r}"
        raise NotFoundError(what, hint="List them: sluicegate approvals links")
    (link,) = found
    if not rows.end(link.id, REVOKED):
        raise RunError("SG650", f"link {link.id} has ended before: {link.ended}")
    _audited("approval.link.revoked", link, by)
    return replace(link, ended=REVOKED)


class ApprovalLinks:
    """The links to what the runs of one service wait for."""

    def __init__(
        self,
        versions: Versions,
        reader: RunReader,
        accept: Callable[..., Coroutine[Any, Any, Accepted]],
    ) -> None:
        """`accept` is `Service.accept_decision`."""
        self._versions, self._reader, self._accept = versions, reader, accept

    async def make(self, run: str, person: Principal, *, by: str, hours: float = 24, id: str = "") -> ApprovalLink:
        """As `make_link`. Raises `RunError` SG603 also for a run of another workflow."""

        async def made() -> ApprovalLink:
            question, _ = await asyncio.to_thread(self._reader.question, run, person)
            async with self._versions.using(question["digest"]) as opened:
                return await make_link(opened.runner, run, person, by=by, hours=hours, id=id)

        return await elsewhere(made())

    async def open(self, token: str, *, signed_in: str = "") -> tuple[ApprovalLink, Waiting]:
        """The link, and the evidence as its person may know of it now. `signed_in` is who else is known to be opening
        it; empty for nobody. Changes nothing."""
        return await elsewhere(self._opened(token, signed_in))

    async def decide(
        self,
        token: str,
        verdict: str,
        *,
        changed: Changed = "refuse",
        signed_in: str = "",
        **details: Unpack[DecisionDetails],
    ) -> Accepted:
        """Decide as the link's person; once it returns, the decision is written down and the link is used."""
        link, waiting = await elsewhere(self._opened(token, signed_in))
        # before the decision, so that none by a link is without its record
        await asyncio.to_thread(
            _audited, "approval.link.used", link, link.person["id"], workflow=waiting["workflow"], verdict=verdict
        )
        details = {**details, "asked_at": link.asked_at}
        accepted = await self._accept(link.run, verdict, link.person, changed=changed, **details)
        await asyncio.to_thread(self._rows.end, link.id, verdict)
        return accepted

    @property
    def _rows(self) -> LinkRows:
        return LinkRows(now=self._versions.serving.runner.services.now)

    async def _opened(self, token: str, signed_in: str) -> tuple[ApprovalLink, Waiting]:
        link = await asyncio.to_thread(self._rows.of, token)
        if signed_in not in ("", link.person["id"]):
            raise RunError("SG650", "This link is for somebody else than who is signed in here.")
        await asyncio.to_thread(_still_asked, link)
        try:
            return link, await self._reader.approval(link.run, link.person)
        except NotFoundError:
            raise RunError("SG650", "The policies no longer let you decide on this request.") from None


def _still_asked(link: ApprovalLink) -> None:
    """Raise `RunError` SG650 unless the run still waits for what the link is for."""
    try:
        asked = approval_state(link.run)
    except NotFoundError:
        raise RunError("SG650", "The run that this link is for was deleted.") from None
    question = asked.question
    same = question is not None and (question["node"], question["asked_at"]) == (link.node, link.asked_at)
    if question is None or not asked.open or not same:
        raise RunError("SG650", "What this link is for was decided already.")
    if evidence_hash(question) != link.shown:
        raise RunError("SG650", "What is to be decided has changed since this link was made.")


def _audited(event: str, link: ApprovalLink, actor: str, *, workflow: str = "", **facts: Any) -> None:
    with closing(open_audit()) as log:
        log.append(
            event,
            actor=actor,
            run=link.run,
            workflow=workflow,
            risk="high",
            facts={"link": link.id, "node": link.node, "expires_at": link.expires_at, **facts},
            people={"approver": link.person["id"]},
        )
