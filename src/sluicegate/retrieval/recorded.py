"""Serving the passages that another run retrieved, so that what differs is the version's and not the knowledge's."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from sluicegate.services import Retriever
from sluicegate.state import DocumentRef, Principal

__all__ = ["Recorded", "Serving", "passages"]


@dataclass(slots=True)
class Serving:
    """What a run is to be served, and what it was."""

    documents: Sequence[DocumentRef] | None
    """None lets it search; an empty list is what a search found too."""
    served: Literal["same", "fresh", "none"] = "none"
    """The recorded passages, new ones, or it asked for none."""


_SERVING: ContextVar[Serving | None] = ContextVar("serving", default=None)


@contextmanager
def passages(documents: Sequence[DocumentRef] | None) -> Generator[Serving]:
    """Let `Recorded` serve these within, also to tasks started within."""
    serving = Serving(documents)
    token = _SERVING.set(serving)
    try:
        yield serving
    finally:
        _SERVING.reset(token)


class Recorded:
    """`services.Retriever` that serves the `passages` it stands within, whatever is asked for; else it searches."""

    def __init__(self, inner: Retriever) -> None:
        self._inner = inner

    async def search(self, index: str, query: str, principal: Principal, *, k: int) -> list[DocumentRef]:
        serving = _SERVING.get()
        if serving is not None and serving.documents is not None:
            serving.served = "same"
            return list(serving.documents[:k])
        if serving is not None:
            serving.served = "fresh"
        return await self._inner.search(index, query, principal, k=k)

    def text(self, document: DocumentRef) -> str:
        return self._inner.text(document)

    def version(self, index: str) -> str:
        return self._inner.version(index)

    def visible(self, index: str, principal: Principal) -> str:
        return self._inner.visible(index, principal)
