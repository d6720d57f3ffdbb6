"""`condense`: make a follow-up a question that stands alone, for everything that reads the request after it.

Nothing is written: where a turn needs the ones before it, the standalone question is the person's own words, the
question that opened the topic, the turn before, and this one, in their order. So no word can get in that the person has
not written, and no answer or document speaks through it. Where a turn does not need them, its words are passed on
untouched.

Whether it needs them is read off the router: a text that says what it is about is classified with near certainty by
itself, and "and on my phone?" is not; but a text without any subject ("just for today") is surely no matter of the
workflow's, and a question on another subject makes one with the turns before that fits no class. `_WEIGHTS` make a
probability of that, fitted on labelled follow-ups and told on others (`benchmarks/followups.py`).

An earlier turn never makes a turn less than it says: words that the router trusts to be of a riskier class by
themselves, or of one that policy denies their author, are not read in the light of others.
"""

import math
from typing import Any

from sluicegate.errors import StoppedError
from sluicegate.nodes._settings import NoSettings
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.services import Classification, Services
from sluicegate.state import Request, State, Turn

__all__ = ["CONDENSE", "joined", "signs", "stands_alone"]

_WEIGHTS = (0.86, -0.14, -1.19)
_OFFSET = -2.86
_NEARLY_CERTAIN = 1 - 1e-4
_TRUSTED = 0.9
"""The calibrated confidence from which the class of the words alone counts, at least the router's threshold."""
_LONGEST = 500
"""Characters of an earlier turn that are repeated."""
_RISKS = ("low", "medium", "high")


def stands_alone(alone: Classification, whole: Classification) -> float:
    """The probability that a text needs no earlier turn, from the class of the text and of the text joined."""
    weighed = sum(weight * sign for weight, sign in zip(_WEIGHTS, signs(alone, whole), strict=True))
    return 1 / (1 + math.exp(-(weighed + _OFFSET)))


def signs(alone: Classification, whole: Classification) -> tuple[float, float, float]:
    """The log odds that each class is right, and whether the text alone is out of scope."""
    return _log_odds(alone.confidence), _log_odds(whole.confidence), float(alone.out_of_scope)


def _log_odds(confidence: float) -> float:
    sure = min(max(confidence, 1 - _NEARLY_CERTAIN), _NEARLY_CERTAIN)
    return math.log(sure / (1 - sure))


def joined(turns: list[Turn], text: str) -> tuple[str, list[Turn]]:
    """The standalone question of a follow-up, and the turns that it repeats."""
    root = next((turn for turn in reversed(turns) if turn["standalone"] == turn["question"]), turns[0])
    used = [root] if root is turns[-1] else [root, turns[-1]]
    return " ".join([*(turn["question"][:_LONGEST].rstrip() for turn in used), text]), used


def _make(name: str, settings: NoSettings) -> Node:
    del name, settings

    async def condense(state: State, services: Services) -> dict[str, Any]:
        request, turns = state["request"], state.get("conversation", {}).get("turns", [])
        if not turns:
            return {"request": _standalone(request, request["text"], 1.0)}
        whole, used = joined(turns, request["text"])
        try:
            by_itself, with_them = [await services.router.classify(text) for text in (request["text"], whole)]
        except StoppedError:
            # nothing may be asked: whatever this is, it is not read as something else
            return {"request": _standalone(request, request["text"], 0.0)}
        sure = stands_alone(by_itself, with_them)
        if sure >= 0.5 or _weightier(by_itself, with_them, state, services):
            return {"request": _standalone(request, request["text"], sure)}
        update = _standalone(request, whole, 1 - sure)
        if any(turn["redacted"] for turn in used) and "redacted" not in request["cleaned"]:
            update["cleaned"] = [*request["cleaned"], "redacted"]
        return {"request": update}

    return condense


def _standalone(request: Request, text: str, confidence: float) -> Request:
    return {**request, "standalone": text, "standalone_confidence": confidence}


def _weightier(alone: Classification, whole: Classification, state: State, services: Services) -> bool:
    """Whether the words alone are trusted to be of a riskier class than with those before them, or of a denied one."""
    intents = services.workflow.intents
    if alone.confidence < max(_TRUSTED, alone.threshold) or alone.label == whole.label or alone.label not in intents:
        return False
    risk, other = (intents[label].risk if label in intents else "low" for label in (alone.label, whole.label))
    if _RISKS.index(risk) > _RISKS.index(other):
        return True
    decision = services.policy.decide(
        state["principal"],
        "ask",
        {"type": "Workflow", "id": services.workflow.name},
        {
            "intent": alone.label,
            "risk": risk,
            "channel": state["request"]["channel"],
            "hour": services.workflow.hour(services.now()),
            "data_classes": [],
        },
    )
    return not decision.allowed


CONDENSE = NodeKind(
    name="condense",
    doc="Make a follow-up of a conversation a question that stands alone, in the person's own words.",
    settings=NoSettings,
    make=_make,
    reads=frozenset({"conversation"}),
    writes=frozenset({"request", "spend"}),
    effects=frozenset({"condenses"}),
    tells=("request.standalone_confidence",),
    observation="chain",
)
