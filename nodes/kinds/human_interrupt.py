"""`human-interrupt`: stop until a person has decided. The wait is a row in the checkpoint, not a process.

The person sees the evidence in the interrupt's payload; the decision comes back as the resume value, a `HumanVerdict`.
Whether that person may decide is checked here once more, because a resume value can come from any caller.
"""

from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict

from pydantic import Field

from sluicegate.errors import RunError
from sluicegate.nodes._settings import Settings
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.nodes.writing.generation import said
from sluicegate.policies.config import Duration
from sluicegate.services import Services
from sluicegate.state import Answer, Approval, CheckResult, DocumentRef, Principal, State

__all__ = ["HUMAN_INTERRUPT", "HumanInterrupt", "HumanVerdict", "Interrupt", "has_no_draft", "permit"]


class HumanVerdict(TypedDict):
    """What resumes a waiting run."""

    verdict: Literal["approve", "edit", "reject", "timeout"]
    principal: Principal | None
    """Who decided; None only for a timeout."""
    reason: str
    text: str
    """The text to send instead, for ``edit``."""
    asked_at: str


class Interrupt(TypedDict):
    """What a waiting run shows: who may decide, until when, and the evidence."""

    node: str
    approvers: str
    escalate_to: str | None
    four_eyes: bool
    timeout_s: float
    asked_at: str
    draft: str
    reason: str
    documents: list[DocumentRef]
    checks: list[CheckResult]
    proposal: dict[str, Any]
    """The tool that would be called on approval, and its arguments; empty when none would."""


class HumanInterrupt(Settings):
    approvers: str = Field(pattern=r"^(role|group|user):[\w.@-]+$")
    """Who may decide: ``role:NAME``, ``group:NAME`` or ``user:NAME``; the policies must allow it too."""
    timeout: Duration = 86400.0
    """How long it may wait, as seconds or ``24h``."""
    on_timeout: Literal["refuse"] = "refuse"
    """The outcome when nobody decides in time."""
    escalate_to: str | None = Field(default=None, pattern=r"^(role|group|user):[\w.@-]+$")
    """Additional approvers once half of the time has passed."""
    four_eyes: bool = True
    """The requester may not decide, whatever their roles."""


def _make(name: str, settings: HumanInterrupt) -> Node:
    async def human_interrupt(state: State, services: Services) -> dict[str, Any]:
        from langgraph.types import interrupt

        answer, checks = state.get("answer"), state.get("checks")
        draft = answer["text"] if answer else ""
        asked: Interrupt = {
            "node": name,
            "approvers": settings.approvers,
            "escalate_to": settings.escalate_to,
            "four_eyes": settings.four_eyes,
            "timeout_s": settings.timeout,
            "asked_at": services.now().isoformat(),
            "draft": draft,
            "reason": _why(state),
            "documents": state.get("documents", []),
            "checks": checks["results"] if checks else [],
            "proposal": _proposal(state),
        }
        verdict: HumanVerdict = interrupt(asked)
        person = verdict["principal"]
        if verdict["verdict"] != "timeout":
            permit(person, {**asked, "asked_at": verdict["asked_at"]}, state, services)
        approval: Approval = {
            "verdict": verdict["verdict"],
            "by": person["id"] if person else "",
            "reason": verdict["reason"],
            "asked_at": verdict["asked_at"],
            "decided_at": services.now().isoformat(),
            "draft": draft,
        }
        update: dict[str, Any] = {"approval": approval}
        if verdict["verdict"] == "edit":
            # without a draft, the person wrote the text
            edited: Answer = {**(answer or said(name, verdict["text"])), "text": verdict["text"]}
            edited.update(by=name, confidence=1.0)
            edited.pop("features", None)
            update["answer"] = edited
        return update

    return human_interrupt


def permit(person: Principal | None, asked: Interrupt, state: State, services: Services) -> None:
    """Raise `RunError` SG610 unless this person may decide now: an approver, not the requester, allowed by policy."""
    if person is None:
        raise RunError("SG610", "a decision needs an approver")
    if asked["four_eyes"] and person["id"] == state["principal"]["id"]:
        raise RunError("SG610", f"{person['id']} asked this and may not decide on it")
    circles = {asked["approvers"]}
    half_time = datetime.fromisoformat(asked["asked_at"]) + timedelta(seconds=asked["timeout_s"] / 2)
    if asked["escalate_to"] and services.now() >= half_time:
        circles.add(asked["escalate_to"])
    own = {f"user:{person['id']}"}
    own |= {f"role:{role}" for role in person["roles"]} | {f"group:{group}" for group in person["groups"]}
    if not circles & own:
        raise RunError("SG610", f"{person['id']} is not one of {', '.join(sorted(circles))}")
    intent = state.get("intent")
    decision = services.policy.decide(
        person,
        "approve",
        {"type": "Run", "id": state["run"]["id"], "requester": state["principal"]["id"]},
        {"intent": intent["label"] if intent else "", "risk": intent["risk"] if intent else "high"},
    )
    if not decision.allowed:
        raise RunError("SG610", f"policy does not let {person['id']} decide: {decision.reason or 'no rule allows it'}")


def _proposal(state: State) -> dict[str, Any]:
    intent, extraction = state.get("intent"), state.get("extraction")
    if not intent or not intent["tool"] or extraction is None:
        return {}
    return {"tool": intent["tool"], "arguments": extraction["fields"]}


def has_no_draft(state: State) -> bool:
    """Whether there is no draft because the search, or the model that quotes from it, found nothing."""
    answer = state.get("answer")
    return not answer["text"].strip() if answer else state.get("documents") == []


def _why(state: State) -> str:
    """The reason for the approval, as text."""
    intent, checks, answer = state.get("intent"), state.get("checks"), state.get("answer")
    reasons: list[str] = []
    if intent and intent["risk"] == "high":
        reasons.append(f"{intent['label']} is a high-risk class")
    if has_no_draft(state):
        reasons.append("nothing was found to draft an answer from")
    elif checks and checks["failed"]:
        reasons.append("checks failed: " + ", ".join(checks["failures"]))
    if not reasons and answer and answer["confidence"] < answer["threshold"] <= 1:
        sure, needed = answer["confidence"], answer["threshold"]
        reasons.append(f"the draft is right with probability {sure:.2f}; {needed:.2f} is required")
    return "; ".join(reasons) or "the workflow asks for a person here"


HUMAN_INTERRUPT = NodeKind(
    name="human-interrupt",
    doc="Wait until a person approves, edits or rejects; without a decision in time the request is refused.",
    settings=HumanInterrupt,
    make=_make,
    writes=frozenset({"approval", "answer"}),
    effects=frozenset({"asks-human"}),
    observation="span",
)
