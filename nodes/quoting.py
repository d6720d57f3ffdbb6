"""Answering in the sources' own words: their sentences are ranked (`ranking`), the small model picks from the best.

Nothing is written, so nothing can be invented: every sentence of such an answer stands in an approved document
and carries its citation. It is what a very small model can do well, and what some workflows want from any model.
What its confidence rests on is its best sentence's score, and that score's lead (`routing.answer`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sluicegate.nodes.ranking import Passage, scores
from sluicegate.policies.guards.prose import sentences
from sluicegate.services import Services
from sluicegate.state import State

__all__ = ["SHORTLIST", "Candidate", "Shortlist", "assembled", "choice_schema", "shortlist"]

SHORTLIST = 6
"""How many sentences the small model picks from."""

_NEAR, _NEAR_ELSEWHERE = 0.6, 0.8
"""A sentence whose score is below this share of the best one's is not offered; stricter for other sources, since
what a second document adds is more often beside the question than what the first one goes on to say."""


@dataclass(frozen=True, slots=True)
class Candidate:
    source: int
    """Number of its source, from 1, as citations count."""
    position: int
    """Its place in that source."""
    text: str
    score: float
    """How much it has to do with the question, as `ranking` says; at most 1."""


@dataclass(frozen=True, slots=True)
class Shortlist:
    candidates: Sequence[Candidate] = ()
    """Nearest first, at most `SHORTLIST`."""
    margin: float = 0.0
    """By how much the best sentence is above any of another source; its own score where there is none."""


async def shortlist(state: State, services: Services, question: str, texts: Sequence[str]) -> Shortlist:
    """The sentences nearest to the question. Empty without sources.

    Raises `StoppedError` when the embedder may not be asked.
    """
    documents = state.get("documents", [])
    parts = [sentences("\n".join(line for line in text.splitlines() if not line.startswith("#"))) for text in texts]
    found = [
        (source, document, part)
        for source, (document, part) in enumerate(zip(documents, parts, strict=True), start=1)
        if part
    ]
    if not found:
        return Shortlist()
    asked = [question]
    for _, document, part in found:
        asked += [*part, *(f"{document['title']}: {sentence}" for sentence in part)]
    vector, *others = (await services.models.embed("embedder", asked)).vectors
    cosines = iter([_cosine(vector, other) for other in others])
    passages: list[Passage] = []
    for _, document, part in found:
        alone, titled = ([*islice(cosines, len(part))] for _ in range(2))
        passages.append(Passage(document["title"], part, document["score"], alone, titled))
    ranked = sorted(
        (
            Candidate(source, position, sentence, score)
            for (source, _, part), row in zip(found, scores(question, passages), strict=True)
            for position, (sentence, score) in enumerate(zip(part, row, strict=True))
        ),
        key=lambda candidate: -candidate.score,
    )
    first = ranked[0]
    elsewhere = [candidate.score for candidate in ranked if candidate.source != first.source]
    near = [
        candidate
        for candidate in ranked
        if candidate.score >= (_NEAR if candidate.source == first.source else _NEAR_ELSEWHERE) * first.score
    ]
    return Shortlist(near[:SHORTLIST], first.score - max(elsewhere, default=0.0))


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
