"""`human-interrupt`: stop until a person has decided. The wait is a row in the checkpoint, not a process.

The person sees the evidence in the interrupt's payload; the decision comes back as the resume value, a `HumanVerdict`.
Whether that person may decide is checked here once more, because a resume value can come from any caller.
"""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, NotRequired, TypedDict, cast, get_args

from pydantic import Field

from sluicegate.errors import RunError, nearest
from sluicegate.models.structured import misfit
from sluicegate.nodes._settings import Settings
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.nodes.kinds.call_tool import arguments_of
from sluicegate.nodes.sources import sources, unreadable, why_withheld
from sluicegate.nodes.writing.generation import said
from sluicegate.observe.tracing.describers import without_words
from sluicegate.policies.config import Duration
from sluicegate.services import CallAhead, Services
from sluicegate.state import Answer, Approval, Branch, CheckResult, DocumentRef, Extraction, Principal, State

__all__ = [
    "HUMAN_INTERRUPT",
    "AskedBy",
    "HumanInterrupt",
    "HumanVerdict",
    "Interrupt",
    "call_after",
    "edited",
    "entitle",
    "has_no_draft",
    "is_approver",
    "permit",
]


Verdict = Literal["approve", "edit", "reject", "timeout"]

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


class HumanVerdict(TypedDict):
    """What resumes a waiting run."""

    verdict: Verdict | Literal["answer"]
    principal: Principal | None
    """Who decided or answered; None only for a timeout."""
    reason: str
    text: str
    """The text to send instead, for ``edit`` where a draft waits; the requester's ``answer`` to a question."""
    arguments: NotRequired[dict[str, Any]]
    """The arguments to change, for ``edit`` where a tool call waits; null takes one out."""
    asked_at: str
    request: NotRequired[str]
    """The id of the request that an answer came as."""


class AskedBy(TypedDict):
    """A run within another one, which asks through it."""

    node: str
    """The node of the outer run."""
    run: str
    workflow: str
    request: str
    intent: str


class Interrupt(TypedDict):
    """What a waiting run shows: who may decide, until when, and the evidence."""

    node: str
    waits_for: Literal["approval", "answer", "time"]
    """An approver's decision, by default; the requester's answer, to what is then the `reason`; or that its time has
    come."""
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
    """The tool that would be called on approval, its arguments, and what is `missing` of them; empty when none would
    be called."""
    edits: Literal["text", "arguments"]
    """What the verdict ``edit`` takes: a text to send, or arguments where it leads to a tool call."""
    asked_by: NotRequired[list[AskedBy]]
    """The runs within this one through which it asks; the last one's node asks."""


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
        approves = call_after(name, "approve", state, services)
        proposal = _proposal(approves, state, services) if approves else {}
        asked: Interrupt = {
            "node": name,
            "waits_for": "approval",
            "approvers": settings.approvers,
            "escalate_to": settings.escalate_to,
            "four_eyes": settings.four_eyes,
            "timeout_s": settings.timeout,
            "asked_at": services.now().isoformat(),
            "draft": draft,
            "reason": _why(state),
            "documents": state.get("documents", []),
            "checks": checks["results"] if checks else [],
            "proposal": proposal,
            "edits": "arguments" if call_after(name, "edit", state, services) else "text",
        }
        verdict: HumanVerdict = interrupt(asked)
        person = verdict["principal"]
        if verdict["verdict"] != "timeout":
            permit(person, {**asked, "asked_at": verdict["asked_at"]}, state, services)
        approval: Approval = {
            "verdict": cast("Verdict", verdict["verdict"]),
            "by": person["id"] if person else "",
            "reason": verdict["reason"],
            "asked_at": verdict["asked_at"],
            "decided_at": services.now().isoformat(),
            "draft": draft,
        }
        if proposal:
            approval["arguments"] = proposal["arguments"]
        update: dict[str, Any] = {"approval": approval}
        arguments = edited(name, verdict["verdict"], verdict["text"], verdict.get("arguments"), state, services)
        if arguments is not None:
            approval["arguments"] = _arguments(state)
            extraction: Extraction = {"fields": arguments, "missing": [], "complete": True, "confidence": 1.0}
            update["extraction"] = extraction
        elif verdict["verdict"] == "edit":
            # without a draft, the person wrote the text
            answered: Answer = {**(answer or said(name, verdict["text"])), "text": verdict["text"]}
            answered.update(by=name, confidence=1.0)
            answered.pop("features", None)
            update["answer"] = answered
        return update

    return human_interrupt


def edited(
    node: str, verdict: str, text: str, changes: Mapping[str, Any] | None, state: State, services: Services
) -> dict[str, Any] | None:
    """The arguments that a tool is called with after this verdict at `node`; None where an edit changes a text, or the
    verdict is no edit. Raises `RunError` SG626 when nothing would come of what the person gave."""
    if verdict not in VERDICTS:
        # a condition that lists the others would take any word for an approval
        near = nearest(str(verdict), VERDICTS)
        hint = f"Use {near}" if near else f"Use one of {', '.join(VERDICTS)}"
        raise RunError("SG626", f"{verdict!r} is no verdict", hint=hint)
    if verdict != "edit":
        if text or changes:
            raise RunError(
                "SG626", f"{verdict} takes neither a text nor arguments", hint="Use edit to change what waits"
            )
        return None
    call = call_after(node, "edit", state, services)
    if call is None:
        if changes:
            raise RunError("SG626", "no tool call follows an edit here", hint="Give the text to send instead")
        if not text.strip():
            raise RunError("SG626", "an edit of a draft needs a text", hint="Use reject to send no answer")
        return None
    if call.arguments is not None:
        hint = "Approve it, or reject it with the reason"
        what = f"the workflow gives the arguments of {call.tool}: an edit cannot change them"
        raise RunError("SG626", what, hint=hint)
    if text or not changes:
        lost = ", and words would be lost" if text else ""
        raise RunError(
            "SG626",
            f"a call of {call.tool} waits, so an edit takes its arguments{lost}",
            hint="Give the arguments to change (--set NAME=VALUE), or reject with the words as reason: then nothing is "
            "called",
        )
    merged = {name: value for name, value in {**_arguments(state), **changes}.items() if value is not None}
    own: dict[str, Any] = dict(call.fields)
    named = {name: value for name, value in merged.items() if name in own.get("properties", {})}
    for schema, value in ((services.tools.schema(call.tool), merged), (own, named)):
        if wrong := misfit(value, schema):
            raise RunError("SG626", f"{call.tool} cannot be called with these arguments: {wrong}")
    return merged


def call_after(node: str, verdict: str, state: State, services: Services) -> CallAhead | None:
    """The tool call that a verdict leads to."""
    return services.workflow.ahead(node, cast("State", {**state, "approval": {"verdict": verdict}}))


def _proposal(call: CallAhead, state: State, services: Services) -> dict[str, Any]:
    extraction = state.get("extraction")
    missing = extraction["missing"] if extraction else []
    arguments = arguments_of(call.arguments, state, services)
    return {"tool": call.tool, "arguments": arguments, **({"missing": missing} if missing else {})}


def _arguments(state: State) -> dict[str, Any]:
    extraction = state.get("extraction")
    return extraction["fields"] if extraction else {}


def permit(person: Principal | None, asked: Interrupt, state: State, services: Services) -> None:
    """Raise `RunError` SG610 unless this person may decide now: entitled, and allowed to read what they decide on."""
    entitle(person, asked, state, services)
    unread = unreadable(state, person, services) if person else []
    if person and unread:
        why = why_withheld(person, len(unread), len(sources(state)))
        raise RunError("SG610", f"{why}, so they may not decide on it", hint="Somebody who may read them decides")


def entitle(person: Principal | None, asked: Interrupt, state: State, services: Services) -> None:
    """Raise `RunError` SG610 unless this person is one whom the workflow asks: an approver, not the requester, allowed
    by policy."""
    if person is None:
        raise RunError("SG610", "a decision needs an approver")
    if asked["four_eyes"] and person["id"] == state["principal"]["id"]:
        raise RunError("SG610", f"{person['id']} asked this and may not decide on it")
    if not is_approver(person, asked, services.now()):
        raise RunError("SG610", f"{person['id']} is not one of {', '.join(sorted(_circles(asked, services.now())))}")
    intent = state.get("intent")
    decision = services.policy.decide(
        person,
        "approve",
        {"type": "Run", "id": state["run"]["id"], "requester": state["principal"]["id"]},
        {
            "intent": intent["label"] if intent else "",
            "risk": intent["risk"] if intent else "high",
            "hour": services.workflow.hour(services.now()),
        },
    )
    if not decision.allowed:
        raise RunError("SG610", f"policy does not let {person['id']} decide: {decision.reason or 'no rule allows it'}")


def is_approver(person: Principal, asked: Interrupt, now: datetime) -> bool:
    """Whether an interrupt names a person; `permit` has what else must hold for them to decide."""
    own = {f"user:{person['id']}"}
    own |= {f"role:{role}" for role in person["roles"]} | {f"group:{group}" for group in person["groups"]}
    return bool(own & _circles(asked, now))


def _circles(asked: Interrupt, now: datetime) -> set[str]:
    circles = {asked["approvers"]}
    half_time = datetime.fromisoformat(asked["asked_at"]) + timedelta(seconds=asked["timeout_s"] / 2)
    if asked["escalate_to"] and now >= half_time:
        circles.add(asked["escalate_to"])
    return circles


def has_no_draft(state: State) -> bool:
    """Whether there is no draft because the search, or the model that quotes from it, found nothing."""
    answer = state.get("answer")
    return not answer["text"].strip() if answer else state.get("documents") == []


def _why(state: State) -> str:
    """The reason for the approval, and the branch that led here."""
    intent, checks, answer = state.get("intent"), state.get("checks"), state.get("answer")
    reasons: list[str] = []
    if intent and intent["risk"] == "high":
        reasons.append(f"{intent['label']} is a high-risk class")
    if intent and intent["by"] == "unlike":
        reasons.append("the request is unlike those that the router was fitted on")
    if has_no_draft(state):
        reasons.append("nothing was found to draft an answer from")
    elif checks and checks["failed"]:
        reasons.append("checks failed: " + ", ".join(checks["failures"]))
    if not reasons and answer and answer["confidence"] < answer["threshold"] <= 1:
        sure, needed = answer["confidence"], answer["threshold"]
        reasons.append(f"the draft is right with probability {sure:.2f}; {needed:.2f} is required")
    trail = state.get("trail", [])
    return "; ".join([*reasons, *([_asked_because(trail[-1]["node"], trail[-1]["branch"])] if trail else [])])


def _asked_because(node: str, branch: Branch) -> str:
    values = ", ".join(f"{name} = {_short(value)}" for name, value in without_words(branch["values"]).items())
    if not branch["condition"]:
        return f"asked whenever a run leaves {node}"
    held = "no other branch held" if branch["condition"] == "otherwise" else f"`{branch['condition']}`"
    return f"asked because {held} at {node}" + (f" ({values})" if values else "")


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"


HUMAN_INTERRUPT = NodeKind(
    name="human-interrupt",
    doc="Wait until a person approves, edits or rejects; without a decision in time the request is refused.",
    settings=HumanInterrupt,
    make=_make,
    writes=frozenset({"approval", "answer", "extraction"}),
    effects=frozenset({"asks-human"}),
    tells=("approval.arguments", "extraction.fields"),
    drafts=False,  # an edit is a person's
    observation="span",
)
