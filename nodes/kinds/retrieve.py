"""`retrieve`: approved passages that this person may read, by reference."""

from typing import Any

from pydantic import Field

from sluicegate.errors import StoppedError
from sluicegate.nodes._settings import Settings
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.services import Services
from sluicegate.state import DocumentRef, State, question

__all__ = ["RETRIEVE", "Retrieve"]

# a loaded workflow has its index's value here; this is for a node created without a workflow
_PASSAGES = 3


class Retrieve(Settings):
    index: str
    """The index to search."""
    k: int | None = Field(default=None, ge=1, le=50)
    """Maximum number of passages; by default the index's."""
    guards: list[str] = Field(default_factory=list[str])
    """Guards on each passage; a passage that fails one is left out."""


def _make(name: str, settings: Retrieve) -> Node:
    del name

    async def retrieve(state: State, services: Services) -> dict[str, Any]:
        try:
            found = await services.retriever.search(
                settings.index, question(state), state["principal"], k=settings.k or _PASSAGES
            )
        except StoppedError:
            # the embedder may not be called: no passages, and `spend` says why
            return {"documents": []}
        if not settings.guards:
            return {"documents": found}
        clean: list[DocumentRef] = []
        for document in found:
            report = await services.guards.check(settings.guards, services.retriever.text(document), stage="retrieved")
            if all(result["passed"] for result in report.results):
                clean.append(document)
        return {"documents": clean}

    return retrieve


RETRIEVE = NodeKind(
    name="retrieve",
    doc="Retrieve approved passages that this person may read.",
    settings=Retrieve,
    make=_make,
    writes=frozenset({"documents", "spend"}),
    reads=frozenset(),
    effects=frozenset({"retrieves"}),
    observation="retriever",
)
