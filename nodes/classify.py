"""`classify`: give the request an intent and a calibrated confidence."""

from typing import Any

from sluicegate.errors import ModelError
from sluicegate.nodes._settings import NoSettings
from sluicegate.nodes.registry import Node, NodeKind
from sluicegate.services import Services
from sluicegate.state import Intent, Route, State

__all__ = ["CLASSIFY"]


def _make(name: str, settings: NoSettings) -> Node:
    del name, settings

    async def classify(state: State, services: Services) -> dict[str, Any]:
        found = await services.router.classify(state["request"]["text"])
        facts = services.workflow.intents.get(found.label)
        if facts is None:
            raise ModelError(
                "SG312",
                f"the router answered {found.label!r}, which is no intent of {services.workflow.name}",
                mend=f"Fit it again: sluicegate router fit on {services.workflow.name}",
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
        return {"intent": intent, "route": route}

    return classify


CLASSIFY = NodeKind(
    name="classify",
    doc="Give the request an intent and a calibrated confidence.",
    settings=NoSettings,
    make=_make,
    writes=frozenset({"intent", "route"}),
    effects=frozenset({"classifies"}),
    observation="chain",
)
