"""Who may see and decide what waits, told from the records of runs: no workflow is opened for it.

The policies are those of the version that serves; a run that goes on under another is put to that one's as well.
"""

from collections.abc import Mapping
from datetime import datetime

from sluicegate.errors import NotFoundError, NotWaitingError, RunError
from sluicegate.graphs.runtime.waiting.approvals import Waiting
from sluicegate.graphs.session.checkpoint_reader import ApprovalState, questions
from sluicegate.nodes.kinds.control.ask import answers_for
from sluicegate.nodes.kinds.human_interrupt import entitle, is_approver
from sluicegate.services import Services
from sluicegate.state import Principal, State

__all__ = ["ApprovalPage", "permitted", "waiting_for"]

_READ = 500
"""Waiting runs that are read for one page; those of others take no place in it."""


class ApprovalPage(list[Waiting]):
    """Some of what waits for a person."""

    def __init__(self, *, next: str) -> None:
        """`next` is the cursor from behind which the next page begins; empty when this is the last."""
        super().__init__()
        self.next = next


def permitted(asked: ApprovalState, person: Principal, services: Services, *, sees: bool) -> tuple[Waiting, State]:
    """What a run asks and its state, when this person is asked; `sees` says whether they may see the run itself.

    Raises `RunError` SG603 when they may neither see the run nor decide, SG610 when they may see it only, SG605 when it
    does not wait, or no longer.
    """
    run = asked.state["run"]["id"]
    try:
        if asked.question and asked.question["waits_for"] == "answer":
            answers_for(person, asked.state)
        elif asked.question:
            entitle(person, asked.question, asked.state, services)
    except RunError:
        if not sees:
            raise NotFoundError(run) from None
        raise
    if asked.question is None and not sees:
        raise NotFoundError(run)
    if asked.question is None or not asked.open:
        raise NotWaitingError(f"run {run} is not waiting for a decision")
    return asked.question, asked.state


def waiting_for(
    services: Mapping[str, Services], person: Principal, limit: int, after: str
) -> tuple[list[tuple[Waiting, State]], str]:
    """What this person is asked to decide on, longest-waiting first, with the states; and the cursor behind it, which
    is empty when no more wait. `services` are those of the workflows that are looked at, by their names."""
    found, cursor, read = list[tuple[Waiting, State]](), "", 0
    only = next(iter(services)) if len(services) == 1 else ""
    now = next(iter(services.values())).now()
    for cursor, asked in questions(only, after, _READ, lambda asked: is_approver(person, asked, now)):
        read += 1
        if asked is None or asked.question is None or not asked.open:
            continue
        run = asked.state["run"]
        its = services.get(run["workflow"])
        if its is None or run["shadow"] or asked.question["waits_for"] != "approval":
            continue
        if its.now() > datetime.fromisoformat(asked.question["deadline"]):
            continue
        try:
            entitle(person, asked.question, asked.state, its)
        except RunError:
            continue
        found.append((asked.question, asked.state))
        if len(found) == limit:
            return found, cursor
    return found, cursor if read == _READ else ""
