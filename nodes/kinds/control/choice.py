"""`choice`: does nothing but decide by its `then`, such as on what the branches of a fork have found together."""

from typing import Any

from sluicegate.nodes._settings import NoSettings
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.services import Services
from sluicegate.state import State

__all__ = ["CHOICE"]


def _make(name: str, settings: NoSettings) -> Node:
    del name, settings

    async def choice(state: State, services: Services) -> dict[str, Any]:
        del state, services
        return {}

    return choice


CHOICE = NodeKind(
    name="choice",
    doc="Decide on a branch and do nothing else, such as where the branches of a fork come together.",
    settings=NoSettings,
    make=_make,
    writes=frozenset(),
    reads=frozenset(),
    observation="chain",
)
