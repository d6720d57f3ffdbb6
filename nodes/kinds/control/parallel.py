"""`parallel`: the branches that it names run side by side, until all of them have come to the join."""

from typing import Any, Literal

from pydantic import Field

from sluicegate.nodes._settings import Settings
from sluicegate.nodes.kind import Fork, Node, NodeKind
from sluicegate.services import Services
from sluicegate.state import State

__all__ = ["PARALLEL", "Parallel"]


class Parallel(Settings):
    branches: list[str] = Field(min_length=2, max_length=50)
    """The first node of each branch. A branch may branch in itself and have loops; all its ways end at the join."""
    join: str
    """The node at which the branches come together."""
    siblings: Literal["await", "cancel"] = "await"
    """What becomes of the other branches when a node of one fails for good: they come to their ends before the run
    takes `on_error`, or fails; or they are stopped at once."""


def _make(name: str, settings: Parallel) -> Node:
    del name, settings

    async def parallel(state: State, services: Services) -> dict[str, Any]:
        del state, services
        return {}

    return parallel


def _fork(settings: Parallel) -> Fork:
    return Fork(tuple(settings.branches), settings.join, settings.siblings)


PARALLEL = NodeKind(
    name="parallel",
    doc="Run branches side by side, each on its own state, and merge what they did.",
    settings=Parallel,
    make=_make,
    writes=frozenset(),
    reads=frozenset(),
    fork=_fork,
    observation="chain",
)
