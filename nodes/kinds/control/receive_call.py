"""`receive-call`: take a request that is a call already, with its tool and arguments, as it was received.

Such a request has them as the inputs `call` (an intent of the workflow, which names the tool and its risk) and
`arguments`; no model is asked what was meant.
"""

from typing import Any

from sluicegate.errors import NodeFailedError
from sluicegate.nodes._settings import NoSettings
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.services import Services
from sluicegate.state import Extraction, Intent, State

__all__ = ["RECEIVE_CALL"]


def _make(name: str, settings: NoSettings) -> Node:
    del settings

    async def receive_call(state: State, services: Services) -> dict[str, Any]:
        given = state.get("inputs", {})
        label, arguments = given.get("call", ""), given.get("arguments", {})
        facts = services.workflow.intents.get(label)
        if facts is None or not isinstance(arguments, dict):
            raise NodeFailedError(
                f"{name} got no call that {services.workflow.name} knows",
                hint="Calls come through the firewall: sluicegate mcp proxy",
            )
        intent: Intent = {
            "label": label,
            "confidence": 1.0,
            "alternatives": [],
            "risk": facts.risk,
            "task": facts.task,
            "out_of_scope": False,
            "by": "caller",
            "max_tokens": facts.max_tokens,
            "tool": facts.tool,
        }
        extraction: Extraction = {"fields": arguments, "missing": [], "complete": True, "confidence": 1.0}
        return {"intent": intent, "route": {"threshold": 0.0, "artifact": ""}, "extraction": extraction}

    return receive_call


RECEIVE_CALL = NodeKind(
    name="receive-call",
    doc="Take the tool and the arguments of a request that is a call already, as the firewall receives it.",
    settings=NoSettings,
    make=_make,
    writes=frozenset({"intent", "route", "extraction"}),
    reads=frozenset({"inputs"}),
    effects=frozenset({"classifies"}),
    observation="chain",
)
