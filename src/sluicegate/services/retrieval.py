"""Passages of indexed documents, found for a reader."""

from collections.abc import Sequence
from typing import Protocol

from sluicegate.state import DocumentRef, Principal

__all__ = ["Retriever"]


class Retriever(Protocol):
    async def search(self, index: str, query: str, principal: Principal, *, k: int) -> list[DocumentRef]:
        """The best `k` passages that are approved, valid today and readable by `principal`, best first.

        Raises `RetrievalError` SG401 (no such index), SG402 (corrupt).
        """
        ...

    def text(self, document: DocumentRef) -> str:
        """The passage's text. Raises `RetrievalError` SG402 when it was removed."""
        ...

    def version(self, index: str) -> str:
        """Changes whenever the index's content changes."""
        ...

    def visible(self, index: str, principal: Principal) -> str:
        """A key that two principals share exactly when they may read the same documents."""
        ...

    def readable(self, documents: Sequence[DocumentRef], principal: Principal) -> list[DocumentRef]:
        """Those of the passages, retrieved whenever and by whom, whose document `principal` may read now.

        Approval and validity are not checked again. A document that no index has any more is denied. Raises
        `RetrievalError` SG402.
        """
        ...
