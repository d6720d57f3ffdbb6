"""How long the passages of an index can be in a prompt: what budgets are bounded with before anything is found."""

from collections.abc import Callable
from pathlib import Path

from sluicegate.models.tokens import upper_tokens
from sluicegate.retrieval.catalog import Catalog

__all__ = ["LongestPassages"]


class LongestPassages:
    """By the name of an index, which `folder_of` finds. An index is read once for each of its versions."""

    def __init__(self, folder_of: Callable[[str], Path]) -> None:
        self._folder_of = folder_of
        self._known: dict[str, tuple[str, int]] = {}

    def __call__(self, index: str) -> int:
        """An upper estimate of the tokens of any passage with its title. Raises as `folder_of`, and
        `RetrievalError` SG401, SG402."""
        catalog = Catalog(self._folder_of(index), name=index)
        try:
            head = catalog.head()
            digest = head.digest if head else ""
            if index not in self._known or self._known[index][0] != digest:
                titles = (upper_tokens(document.title) for document in catalog.documents()[1].values())
                longest = max(map(upper_tokens, catalog.texts()), default=0) + max(titles, default=0)
                self._known[index] = digest, longest
        finally:
            catalog.close()
        return self._known[index][1]
