"""Serving the passages that another run retrieved, so that what differs is the version's and not the knowledge's.

Who may read what is the version's too: a passage that its policies forbid to the one who asks is withheld, and said.
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
    """What a run is to be served, and what it was."""

    documents: Sequence[DocumentRef] | None
    """None lets it search; an empty list is what a search found too."""
    served: Literal["same", "fresh", "none"] = "none"
    """The recorded passages, new ones, or it asked for none."""
    withheld: list[str] = field(default_factory=list[str])
    """Ids of recorded documents that the version does not let the one who asks read."""


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
