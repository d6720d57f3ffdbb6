"""`ask`: put a question to the requester, and go on with what they answer.

The wait is a row in the checkpoint, as an approver's is. The answer's words stand behind those of the request, so that
everything after it reads them as one text: guards see both together, and nothing but the person's own words is read.
What was concluded from the earlier words is taken away (`NodeKind.forgets`). Whether this person may answer is checked
here once more, because a resume value can come from any caller.
"""

from typing import Any, Literal

from pydantic import Field

from sluicegate.errors import RunError, UnansweredError
from sluicegate.language import language_of
from sluicegate.nodes._settings import Settings
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.nodes.kinds.human_interrupt import HumanVerdict, Interrupt
from sluicegate.plain_data import clean
from sluicegate.policies.config import Duration
from sluicegate.services import Services
from sluicegate.state import Principal, Request, RequesterReply, State

__all__ = ["ASK", "Ask", "answers_for", "pause", "with_answer"]

_CLEARANCES = ("public", "internal", "confidential", "restricted")


class Ask(Settings):
    say: str = Field(min_length=1, max_length=2000)
    """The question, as the requester reads it."""
    timeout: Duration = 86400.0
    """How long the requester has to answer, as seconds or ``24h``."""
    on_timeout: str = Field(min_length=1)
    """The node to go to when they have not answered by then, with `failure.*` set and everything else as it was."""


def _make(name: str, settings: Ask) -> Node:
    async def ask(state: State, services: Services) -> dict[str, Any]:
        from langgraph.types import interrupt

        asked = pause(name, "answer", settings.say, settings.timeout, state, services)
        reply: HumanVerdict = interrupt(asked)
        if reply["verdict"] == "timeout":
            raise UnansweredError(f"{name} was not answered in time") from TimeoutError()
        answers_for(reply["principal"], state)
        request = with_answer(state["request"], reply["text"])
        said: RequesterReply = {
            "node": name,
            "question": settings.say,
            "text": clean(reply["text"])[0],
            "before": state["request"]["text"],
            "asked_at": reply["asked_at"],
            "answered_at": services.now().isoformat(),
        }
        return {"request": request, "replies": [said]}

    return ask


def pause(
    name: str, waits_for: Literal["answer", "time"], reason: str, timeout_s: float, state: State, services: Services
) -> Interrupt:
    """What a run shows that waits for its requester, or for a time."""
    return {
        "node": name,
        "waits_for": waits_for,
        "approvers": f"user:{state['principal']['id']}" if waits_for == "answer" else "",
        "escalate_to": None,
        "four_eyes": False,
        "timeout_s": timeout_s,
        "asked_at": services.now().isoformat(),
        "draft": "",
        "reason": reason,
        "documents": [],
        "checks": [],
        "proposal": {},
        "edits": "text",
    }


def with_answer(request: Request, answer: str | bytes) -> Request:
    """The request with an answer's words behind its own. Raises `RunError` SG601, SG602 as for a request."""
    own, changed = clean(answer)
    text, _ = clean(f"{request['text']}\n{own}")
    made: Request = {
        **request,
        "text": text,
        "language": language_of(text),
        "size": request["size"] + len(answer if isinstance(answer, bytes) else answer.encode("utf-8", "replace")),
        "cleaned": list(dict.fromkeys([*request["cleaned"], *changed])),
    }
    if standalone := request.get("standalone"):
        made["standalone"] = f"{standalone}\n{own}"
    return made


def answers_for(person: Principal | None, state: State) -> None:
    """Raise `RunError` SG610 unless this is the requester, with all the rights that the run goes on with."""
    asker = state["principal"]
    if person is None or person["id"] != asker["id"]:
        raise RunError("SG610", "only the requester may answer", hint="Answer as whoever sent the request")
    lost = [*(set(asker["roles"]) - set(person["roles"])), *(set(asker["groups"]) - set(person["groups"]))]
    if lost or _CLEARANCES.index(person["clearance"]) < _CLEARANCES.index(asker["clearance"]):
        what = f"{asker['id']} no longer has the rights that this run began with"
        raise RunError("SG610", what, hint="Send the request again; this one ends at its deadline")


ASK = NodeKind(
    name="ask",
    doc="Ask the requester, and go on with their answer added to the request; it is classified and decided anew.",
    settings=Ask,
    make=_make,
    reads=frozenset(),
    writes=frozenset({"request", "replies"}),
    effects=frozenset({"asks-requester"}),
    observation="span",
)
