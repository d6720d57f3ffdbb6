"""`wait`: go on after a time. The timer is a row in the checkpoint: it outlasts the process, and costs nothing until it
is due. Replays, shadows and dry runs do not wait."""

from typing import Any

from pydantic import Field

from sluicegate.nodes._settings import Settings
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.nodes.kinds.control.ask import pause
from sluicegate.policies.config import Duration
from sluicegate.services import Services
from sluicegate.state import State

__all__ = ["WAIT", "Wait"]


class Wait(Settings):
    duration: Duration = Field(alias="for")
    """How long, as seconds or ``10m``."""


def _make(name: str, settings: Wait) -> Node:
    async def wait(state: State, services: Services) -> dict[str, Any]:
        from langgraph.types import interrupt

        # what is done without effects keeps nobody waiting
        if not state["run"]["shadow"]:
            interrupt(pause(name, "time", "its time has not come", settings.duration, state, services))
        return {}

    return wait


WAIT = NodeKind(
    name="wait",
    doc="Go on after a time; the run may wait for days, and outlasts its process.",
    settings=Wait,
    make=_make,
    reads=frozenset(),
    writes=frozenset(),
    effects=frozenset({"waits"}),
)
