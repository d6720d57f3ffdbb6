"""Answering in the sources' own words: the embedding model ranks their sentences, the small model picks from the best.

Nothing is written, so nothing can be invented: every sentence of such an answer stands in an approved document
and carries its citation. It is what a very small model can do well, and what some workflows want from any model.
The confidence of such an answer is the cosine similarity of its nearest sentence with the question.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sluicegate.policies.guards.prose import sentences
from sluicegate.services import Services
from sluicegate.state import State

__all__ = ["SHORTLIST", "Candidate", "assembled", "choice_schema", "shortlist"]

SHORTLIST = 6
"""How many sentences the small model picks from."""

_NEAR = 0.55
"""A sentence whose similarity is below this share of the best one's is not offered."""


@dataclass(frozen=True, slots=True)
class Candidate:
    source: int
    """Number of its source, from 1, as citations count."""
    position: int
    """Its place in that source."""
    text: str
    score: float
    """Mean cosine similarity with the question, of the sentence alone and under its title."""


async def shortlist(state: State, services: Services, question: str, texts: Sequence[str]) -> list[Candidate]:
    """The sentences nearest to the question, nearest first; at most `SHORTLIST`. Empty without sources.

    Raises `StoppedError` when the embedder may not be asked.
    """
    found: list[tuple[int, int, str, str]] = []
    for source, (document, text) in enumerate(zip(state.get("documents", []), texts, strict=True), start=1):
        body = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
        found += [(source, position, sentence, document["title"]) for position, sentence in enumerate(sentences(body))]
    if not found:
        return []
    asked = [question, *(sentence for *_, sentence, _ in found), *(f"{title}: {s}" for *_, s, title in found)]
    vector, *others = (await services.models.embed("embedder", asked)).vectors
    alone, titled = others[: len(found)], others[len(found) :]
    ranked = sorted(
        (
            Candidate(source, position, sentence, (_cosine(vector, a) + _cosine(vector, t)) / 2)
            for (source, position, sentence, _), a, t in zip(found, alone, titled, strict=True)
        ),
        key=lambda candidate: -candidate.score,
    )
    return [candidate for candidate in ranked[:SHORTLIST] if candidate.score >= _NEAR * ranked[0].score]


def choice_schema(count: int, most: int) -> dict[str, Any]:
    """JSON Schema of a choice of 1 to `most` of `count` numbered sentences."""
    numbers = {"type": "integer", "enum": list(range(1, count + 1))}
    return {
        "type": "object",
        "properties": {"sentences": {"type": "array", "items": numbers, "minItems": 1, "maxItems": min(most, count)}},
        "required": ["sentences"],
        "additionalProperties": False,
    }


def assembled(candidates: Sequence[Candidate], chosen: Sequence[int]) -> str:
    """The chosen sentences, each once, in the order of their sources, each with its citation."""
    picked = {candidates[number - 1] for number in chosen}
    ordered = sorted(picked, key=lambda candidate: (candidate.source, candidate.position))
    return " ".join(f"{candidate.text} [{candidate.source}]" for candidate in ordered)


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    # embeddings have unit length
    return sum(a * b for a, b in zip(one, other, strict=True))
