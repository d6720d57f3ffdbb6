"""What a waiting run may go on with: an approver's decision, its requester's answer, or nothing but the time.

Everything is checked before it is written down, so that whatever is written down can be carried out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sluicegate.errors import NotWaitingError
from sluicegate.graphs.runtime.waiting.approvals import CLOCK_SLACK, DecisionDetails, Waiting
from sluicegate.nodes.kinds.control.ask import answers_for, with_answer
from sluicegate.nodes.kinds.human_interrupt import HumanVerdict, edited, entitle, has_no_draft, permit
from sluicegate.services import Services
from sluicegate.state import Principal, State

__all__ = ["Party", "check_rights", "is_due", "late", "not_before", "verdict_on"]


@dataclass(frozen=True, slots=True)
class Party:
    """A run with the services of its workflow."""

    state: State
    services: Services


def verdict_on(
    waiting: Waiting, verdict: str, by: Principal | None, details: DecisionDetails, *, outer: Party, asking: Party
) -> HumanVerdict:
    """What resumes a run. `asking` is the run that asks, which may be one within the `outer` one that waits.

    Raises `RunError` SG605 for what this run does not wait for, SG610 for somebody who may not decide or answer, SG626
    for an edit that does not fit what waits, SG601 and SG602 for an answer that is no text to go on with.
    """
    decision: HumanVerdict = {
        "verdict": cast("HumanVerdict", {"verdict": verdict})["verdict"],
        "principal": by,
        "reason": details.get("reason", ""),
        "text": details.get("text", ""),
        "arguments": dict(details.get("arguments") or {}),
        "asked_at": waiting["asked_at"],
    }
    if "request" in details:
        decision["request"] = details["request"]
    run, expired = waiting["run"], verdict == "timeout" and by is None
    if waiting["waits_for"] == "approval":
        if verdict == "answer":
            raise NotWaitingError(f"run {run} waits for {waiting['approvers']} to decide, not for an answer")
        _check_approval(waiting, decision, outer, asking, expired=expired)
    elif waiting["waits_for"] == "answer" and not expired:
        if verdict != "answer":
            raise NotWaitingError(f"run {run} waits for its requester's answer, and nothing is to be decided")
        answers_for(by, asking.state)
        with_answer(asking.state["request"], decision["text"])
    elif not expired:
        raise NotWaitingError(f"run {run} goes on by itself at {waiting['deadline']}")
    return decision


def _check_approval(waiting: Waiting, decision: HumanVerdict, outer: Party, asking: Party, *, expired: bool) -> None:
    verdict = decision["verdict"]
    if not expired:
        check_rights(waiting, decision["principal"], outer, asking)
    if verdict == "approve" and has_no_draft(asking.state) and not waiting["proposal"]:
        hint = "Edit it to send your own text, or reject it"
        raise NotWaitingError(f"run {waiting['run']} has no draft to approve", hint=hint)
    arguments: Mapping[str, object] | None = decision.get("arguments")
    edited(waiting["node"], verdict, decision["text"], arguments, asking.state, asking.services)


def check_rights(waiting: Waiting, by: Principal | None, outer: Party, asking: Party) -> None:
    """Raise `RunError` SG610 unless this person may decide now. The parties are those of `verdict_on`."""
    if asking.state["run"]["id"] != outer.state["run"]["id"]:
        # the workflow that a child asks through must let them decide, too
        entitle(by, waiting, outer.state, outer.services)
    permit(by, waiting, asking.state, asking.services)


def is_due(waiting: Waiting, now: datetime) -> bool:
    return now > datetime.fromisoformat(waiting["deadline"])


def not_before(waiting: Waiting, now: datetime) -> None:
    """Raise `RunError` SG605 where the clock went back: how long a run has waited is unknown then, so its deadline may
    have passed."""
    if now < datetime.fromisoformat(waiting["asked_at"]) - CLOCK_SLACK:
        since = waiting["asked_at"]
        raise NotWaitingError(
            f"the clock went back: run {waiting['run']} has waited since {since}, and now is {now.isoformat()}",
            hint="Correct the clock, then decide",
        )


def late(waiting: Waiting) -> NotWaitingError:
    """For who comes after the deadline."""
    run, deadline = waiting["run"], waiting["deadline"]
    if waiting["waits_for"] == "answer":
        what = f"the question of run {run} was open until {deadline}; it went on without an answer"
        return NotWaitingError(what, hint="Send what you have to say as a new request")
    return NotWaitingError(f"run {run} was refused at its deadline, {deadline}")
