"""Answers that may be served again, by their key or to a question in other words."""

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
    """A question whose answer may be found by another that asks the same."""

    space: str
    """A hash of all that an answer rests on but the words of the question: answers are shared within one only."""
    text: str
    vector: Sequence[float]
    """Its embedding, of unit length."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A question whose answer is kept."""

    key: str
    text: str
    similarity: float
    """Cosine similarity with the question asked."""


class Cache(Protocol):
    def get(self, key: str, *, again: bool = False) -> Cached | None:
        """The answer under `key`; `again` when this is the second try of one look-up, which counts as one."""
        ...

    def put(
        self,
        key: str,
        value: dict[str, Any],
        *,
        ttl_s: float,
        saved_usd: float,
        question: Question | None = None,
    ) -> None:
        """Keep an answer; with `question` it can also be found by `near`."""
        ...

    def near(self, question: Question, *, similarity: float) -> Sequence[Neighbour]:
        """The kept questions of the same space that are at least so similar, most similar first."""
        ...
