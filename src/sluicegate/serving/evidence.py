"""What a waiting run puts before a person, with all that they need to decide on it, and what became of it.

More than `Service.approval` has: the passages behind the citations, what an edit takes, the trail's last word, and
after a decision who made it. As far as this person may see each.
"""

import asyncio
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from sluicegate.errors import RetrievalError
from sluicegate.evals.promotion.champions import resumes_on
from sluicegate.graphs.runtime.run import Runner
from sluicegate.graphs.runtime.waiting.approvals import Approvals, Waiting
from sluicegate.graphs.session.checkpoint_reader import ApprovalState
from sluicegate.nodes.kinds.human_interrupt import call_after, has_no_draft
from sluicegate.services import Services
from sluicegate.state import DocumentRef, Principal, State
from sluicegate.storage.database import place

__all__ = ["DecisionMade", "EditableCall", "Evidence", "Passage", "decision_on", "weighed"]


@dataclass(frozen=True, slots=True)
class Passage:
    """One that was retrieved."""

    marker: str
    """As the draft cites it, such as ``[1]``; empty where it does not."""
    document: DocumentRef
    text: str | None
    """None when it is in no index any more."""


@dataclass(frozen=True, slots=True)
class EditableCall:
    """The tool call that an edit leads to."""

    tool: str
    schemas: tuple[Mapping[str, Any], ...]
    """The JSON Schemas that its arguments must fit: the tool's, and that of the `extract` node that has one."""
    arguments: Mapping[str, Any]
    """As they are now."""


@dataclass(frozen=True, slots=True)
class DecisionMade:
    verdict: str
    """approve, edit, reject or timeout."""
    by: str
    """Empty for a timeout."""
    reason: str
    carried_out: bool
    """The run has gone on with it."""


@dataclass(frozen=True, slots=True)
class Evidence:
    waiting: Waiting
    risk: str
    confidence: float | None
    """Of the intent."""
    passages: list[Passage]
    """Those that the draft cites first; none where it is withheld."""
    call: EditableCall | None
    """None where an edit takes a text, or may change nothing."""
    fixed: bool
    """The workflow gives the arguments of the call that waits: an edit cannot change them."""
    draftless: bool
    """There is nothing to approve."""
    changed: bool
    """The workflow was edited since the run began: a decision says on which version it goes on."""
    decision: DecisionMade | None
    """None while it waits."""


def decision_on(asked: ApprovalState) -> DecisionMade | None:
    """What was decided on what a run asked last; None while it waits for it. Blocks."""
    if not asked.open:
        approval = asked.state.get("approval")
        return approval and DecisionMade(approval["verdict"], approval["by"], approval["reason"], carried_out=True)
    assert asked.question
    with closing(Approvals(place())) as approvals:
        recorded = approvals.recorded(asked.question)
    if recorded is None:
        return None
    # the run may have gone on since its state was read
    verdict, carried_out = recorded
    by = verdict["principal"]
    return DecisionMade(verdict["verdict"], by["id"] if by else "", verdict["reason"], carried_out)


async def weighed(runner: Runner, asked: ApprovalState, serving: str, reader: Principal) -> Evidence:
    """What `reader`, who is one of those whom it asks, may know of it. Raises `RunError` SG603, SG604."""
    assert asked.question
    waiting = await runner.evidence(asked.question, reader)
    asker, its = await runner.call(runner.asking, asked.question)
    intent, call = its.get("intent"), call_after(waiting["node"], "edit", its, asker.services)
    shown = not waiting["withheld"]
    return Evidence(
        waiting=waiting,
        risk=intent["risk"] if intent else "",
        confidence=intent["confidence"] if intent else None,
        passages=await asyncio.to_thread(_passages, waiting, its, asker.services) if shown else [],
        call=_editable(waiting, its, asker.services) if shown else None,
        fixed=call is not None and call.arguments is not None,
        draftless=has_no_draft(its) and not waiting["proposal"],
        changed=waiting["digest"] != serving and not resumes_on(waiting["workflow"], waiting["digest"]),
        decision=await asyncio.to_thread(decision_on, asked),
    )


def _passages(waiting: Waiting, state: State, services: Services) -> list[Passage]:
    answer = state.get("answer")
    markers = {
        (each["document"], each["version"], *each["span"]): each["marker"]
        for each in (answer["citations"] if answer else ())
    }
    found: list[Passage] = []
    for one in waiting["documents"]:
        try:
            text = services.retriever.text(one)
        except RetrievalError:
            text = None
        found.append(Passage(markers.get((one["id"], one["version"], *one["span"]), ""), one, text))
    return sorted(found, key=lambda passage: not passage.marker)


def _editable(waiting: Waiting, state: State, services: Services) -> EditableCall | None:
    call = call_after(waiting["node"], "edit", state, services)
    if call is None or call.arguments is not None:
        return None
    schemas = tuple(schema for schema in (services.tools.schema(call.tool), call.fields) if schema)
    proposal, extraction = waiting["proposal"], state.get("extraction")
    # what is proposed has been restored for this reader, as far as they may see it
    own = proposal["arguments"] if proposal.get("tool") == call.tool else extraction["fields"] if extraction else {}
    return EditableCall(call.tool, schemas, own)
