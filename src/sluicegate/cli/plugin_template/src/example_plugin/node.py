"""The kind `example-plugin-urgency`: asks the small model whether a request is urgent, for conditions to branch on."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from sluicegate import Message, ModelRequest, Node, NodeKind, Services, State

_ASKED = "Is the request urgent? Answer as JSON, with `urgent` true or false."
_SCHEMA = {
    "type": "object",
    "properties": {"urgent": {"type": "boolean"}},
    "required": ["urgent"],
    "additionalProperties": False,
}


class Urgency(BaseModel):
    """The settings that a workflow may give a node of this kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = "slm"
    """The role of the model that is asked."""


def _make(name: str, settings: Urgency) -> Node:
    async def urgency(state: State, services: Services) -> dict[str, Any]:
        messages = [Message("system", _ASKED), Message("user", state["request"]["text"])]
        request = ModelRequest(settings.model, messages, max_tokens=16, schema=_SCHEMA)
        # the call is checked by the policies and booked on the budget, as any call of a node is
        completion = await services.models.chat(request)
        return {"extra": {**state.get("extra", {}), "urgent": completion.parsed["urgent"]}}

    return urgency


URGENCY = NodeKind(
    name="example-plugin-urgency",
    doc="Ask the small model whether the request is urgent.",
    settings=Urgency,
    make=_make,
    writes=frozenset({"extra", "spend"}),
    effects=frozenset({"generates"}),
    extra={"urgent": bool},
)
