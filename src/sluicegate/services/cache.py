"""The answer cache, by key or by similar question."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Cache", "Cached", "Neighbour", "Question"]


@dataclass(frozen=True, slots=True)
class Cached:
    value: dict[str, Any]
    age_s: float


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its embedding, so that a paraphrase can find its answer."""

    space: str
    """A hash of everything that an answer depends on except the question's text: answers are shared only within it."""
    text: str
    vector: Sequence[float]
    """Its embedding, of unit length."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A question with a cached answer."""

    key: str
    text: str
    similarity: float
    """Cosine similarity with the question asked."""


class Cache(Protocol):
    async def get(self, key: str, *, again: bool = False) -> Cached | None:
        """The answer under `key`; `again` marks the second try of one look-up, which counts once."""
        ...

    async def put(
        self,
        key: str,
        value: dict[str, Any],
        *,
        ttl_s: float,
        saved_usd: float,
        question: Question | None = None,
    ) -> None:
        """Store an answer; with `question` it can also be found by `near`."""
        ...

    async def near(self, question: Question, *, similarity: float) -> Sequence[Neighbour]:
        """The cached questions of the same space with at least this similarity, most similar first."""
        ...
