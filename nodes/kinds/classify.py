"""`classify`: give the request an intent and a calibrated confidence."""

from typing import Any

from sluicegate.errors import ModelError, StoppedError
from sluicegate.nodes._settings import NoSettings
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.services import Classification, Services
from sluicegate.state import Intent, LabelScore, Route, State, question

__all__ = ["CLASSIFY"]


def _make(name: str, settings: NoSettings) -> Node:
    del name, settings

    async def classify(state: State, services: Services) -> dict[str, Any]:
        try:
            found = await services.router.classify(question(state))
        except StoppedError:
            found = _unclassified(services)
            if found is None:
                raise
        facts = services.workflow.intents.get(found.label)
        if facts is None:
            raise ModelError(
                "SG312",
                f"the router predicted {found.label!r}, which is not an intent of {services.workflow.name}",
                hint=f"Fit it again on {services.workflow.name}: sluicegate router fit",
            )
        intent: Intent = {
            "label": found.label,
            "confidence": found.confidence,
            "alternatives": list(found.alternatives[:3]),
            "risk": facts.risk,
            "task": facts.task,
            "out_of_scope": found.out_of_scope or facts.task == "out-of-scope",
            "by": found.by,
            "max_tokens": facts.max_tokens,
            "tool": facts.tool,
        }
        route: Route = {"threshold": found.threshold, "artifact": found.artifact}
        if escalation := found.escalation:
            route["needs_large"] = escalation.needs_large
            route["escalation_threshold"] = escalation.threshold
            route["escalation_artifact"] = escalation.artifact
        return {"intent": intent, "route": route}

    return classify


def _unclassified(services: Services) -> Classification | None:
    """The classification when no model may be called: out of scope, without confidence. None where no intent stands for
    that: such a run fails, since every other label would be a guess."""
    label = next((name for name, facts in services.workflow.intents.items() if facts.task == "out-of-scope"), None)
    if label is None:
        return None
    return Classification(label, 0.0, (LabelScore(label=label, confidence=0.0),), 1.0, True, "stopped", "")


CLASSIFY = NodeKind(
    name="classify",
    doc="Classify the request: an intent and a calibrated confidence.",
    settings=NoSettings,
    make=_make,
    writes=frozenset({"intent", "route", "spend"}),
    reads=frozenset(),
    effects=frozenset({"classifies"}),
    observation="chain",
)
