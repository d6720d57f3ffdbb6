"""Replays the passages that another run retrieved, so that differences are due to the version and not the knowledge.

Read access is the version's too: a passage that its policies deny to the requester is withheld and reported.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

from sluicegate.services import Retriever
from sluicegate.state import DocumentRef, Principal

__all__ = ["ReplayRetriever", "Serving", "passages"]


@dataclass(slots=True)
class Serving:
    """What a run should retrieve, and what it did."""

    documents: Sequence[DocumentRef] | None
    """None lets it search; an empty list is an empty search result."""
    served: Literal["same", "fresh", "none"] = "none"
    """Recorded passages, new ones, or none requested."""
    withheld: list[str] = field(default_factory=list[str])
    """Ids of recorded documents that the version does not let the requester read."""


_SERVING: ContextVar[Serving | None] = ContextVar("serving", default=None)


@contextmanager
def passages(documents: Sequence[DocumentRef] | None) -> Generator[Serving]:
    """Let `ReplayRetriever` serve these within, also to tasks started within."""
    serving = Serving(documents)
    token = _SERVING.set(serving)
    try:
        yield serving
    finally:
        _SERVING.reset(token)


class ReplayRetriever:
    """`services.Retriever` that serves the `passages` it stands within, whatever is asked for; else it searches."""

    def __init__(self, inner: Retriever) -> None:
        self._inner = inner

    async def search(self, index: str, query: str, principal: Principal, *, k: int) -> list[DocumentRef]:
        serving = _SERVING.get()
        if serving is not None and serving.documents is not None:
            serving.served = "same"
            readable = self._inner.readable(serving.documents, principal)
            hidden = {document["id"] for document in serving.documents} - {document["id"] for document in readable}
            serving.withheld = sorted(hidden.union(serving.withheld))
            return readable[:k]
        if serving is not None:
            serving.served = "fresh"
        return await self._inner.search(index, query, principal, k=k)

    def text(self, document: DocumentRef) -> str:
        return self._inner.text(document)

    def version(self, index: str) -> str:
        return self._inner.version(index)

    def visible(self, index: str, principal: Principal) -> str:
        return self._inner.visible(index, principal)

    def readable(self, documents: Sequence[DocumentRef], principal: Principal) -> list[DocumentRef]:
        return self._inner.readable(documents, principal)
