"""Answering in the sources' own words: the embedding model ranks their sentences, the small model picks from the best.

Nothing is written, so nothing can be invented: every sentence of such an answer stands in an approved document
and carries its citation. It is what a very small model can do well, and what some workflows want from any model.
How near its nearest sentence is to the question is what its confidence rests on (`routing.answer`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sluicegate.policies.guards.prose import sentences
from sluicegate.services import Services
from sluicegate.state import State

__all__ = ["SHORTLIST", "Candidate", "Shortlist", "assembled", "choice_schema", "shortlist"]

SHORTLIST = 6
"""How many sentences the small model picks from."""

_NEAR, _NEAR_ELSEWHERE = 0.7, 0.85
"""A sentence whose similarity is below this share of the best one's is not offered; stricter for other sources, since
what a second document adds is more often beside the question than what the first one goes on to say."""


@dataclass(frozen=True, slots=True)
class Candidate:
    source: int
    """Number of its source, from 1, as citations count."""
    position: int
    """Its place in that source."""
    text: str
    score: float
    """Mean cosine similarity with the question, of the sentence alone, under its title, and of its whole passage."""


@dataclass(frozen=True, slots=True)
class Shortlist:
    candidates: Sequence[Candidate] = ()
    """Nearest first, at most `SHORTLIST`."""
    margin: float = 0.0
    """By how much the nearest sentence is nearer than any of another source; its own score where there is none."""


async def shortlist(state: State, services: Services, question: str, texts: Sequence[str]) -> Shortlist:
    """The sentences nearest to the question. Empty without sources.

    Raises `StoppedError` when the embedder may not be asked.
    """
    documents = state.get("documents", [])
    found: list[tuple[int, int, str, str]] = []
    for source, (document, text) in enumerate(zip(documents, texts, strict=True), start=1):
        body = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
        found += [(source, position, sentence, document["title"]) for position, sentence in enumerate(sentences(body))]
    if not found:
        return Shortlist()
    asked = [question, *(sentence for *_, sentence, _ in found), *(f"{title}: {s}" for *_, s, title in found)]
    vector, *others = (await services.models.embed("embedder", asked)).vectors
    alone, titled = others[: len(found)], others[len(found) :]
    ranked = sorted(
        (
            Candidate(
                source,
                position,
                sentence,
                (_cosine(vector, a) + _cosine(vector, t) + documents[source - 1]["score"]) / 3,
            )
            for (source, position, sentence, _), a, t in zip(found, alone, titled, strict=True)
        ),
        key=lambda candidate: -candidate.score,
    )
    first = ranked[0]
    others = [candidate.score for candidate in ranked if candidate.source != first.source]
    near = [
        candidate
        for candidate in ranked
        if candidate.score >= (_NEAR if candidate.source == first.source else _NEAR_ELSEWHERE) * first.score
    ]
    return Shortlist(near[:SHORTLIST], first.score - max(others, default=0.0))


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
