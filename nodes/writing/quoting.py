"""Answering in the sources' own words: their sentences are ranked (`ranking`), the small model picks from the best.

The best ones, and what to do about a trouble (`remedy`), are quoted whatever it picks.

No text is generated, so nothing can be invented: every sentence of such an answer is in an approved document and
carries its citation. A very small model can do this well, and some workflows want it from any model.
Its confidence is based on its best sentence's score, and that score's lead (`routing.answers.answer`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sluicegate.nodes.writing.ranking import SourcePassage, scores
from sluicegate.nodes.writing.remedy import EXAMPLES, remedy
from sluicegate.segmentation import quotable
from sluicegate.services import EmbeddingRequest, Services
from sluicegate.state import DocumentRef, State

__all__ = ["SHORTLIST", "Candidate", "Shortlist", "assembled", "choice_schema", "cosines", "shortlist", "with_best"]

_STOPS = (".", "!", "?", "…", "。", "！", "？", "؟", "।", "۔", "።", "։", ":", "：")
_CLOSING = "\"'”’»)]」』"
_ENDS = ("```", "~~~", "|")

SHORTLIST = 6
"""How many sentences the small model picks from."""

_BEST = 5
"""How many of the best sentences an answer quotes whatever the model picks, where it may quote as many.

On the 471 rows of the helpdesk's `train.jsonl` with known facts that stand in a retrieved passage, the best three have
all facts in 411, the best five in 424, and all of the shortlist in no more, of 3.4 sentences on average: a model can
only lose by leaving one of them out. Qwen2.5-Coder-0.5B does so; SmolLM2-135M picks everything, in order."""

_NEAR, _NEAR_ELSEWHERE, _GAP = 0.6, 0.83, 0.15
"""A sentence whose score is below this share of the best one's, or by more than the gap below it, is not offered.

The share is stricter for other sources, since what a second document adds is more often off the question than what
the first one goes on to say. Chosen after a look at 85 rows of the helpdesk's `train.jsonl` that name the right
sentence and at the 121 of `calibration.jsonl` that find a passage: against shares of 0.6 and 0.8 alone, as many answers
are right (75 and 106), the cited documents are the right ones in 73 % and 74 % instead of 70 % and 72 %, and an answer
has 3.2 sentences instead of 3.7. Stricter ones lost right answers."""


@dataclass(frozen=True, slots=True)
class Candidate:
    source: int
    """Number of its source, from 1, as citations count; 0 for the request itself, which nobody cites."""
    position: int
    """Its place in that source."""
    text: str
    score: float
    """Its relevance to the question by `ranking`; at most 1."""


@dataclass(frozen=True, slots=True)
class Shortlist:
    candidates: Sequence[Candidate] = ()
    """Nearest first, but for an instruction after the best ones; at most `SHORTLIST`."""
    always: int = 0
    """How many of them, from the first, the answer quotes whatever the model picks."""
    margin: float = 0.0
    """The lead of the best sentence over those of other sources; its own score where there are none."""


async def shortlist(
    state: State,
    services: Services,
    question: str,
    texts: Sequence[str],
    *,
    quotes: int = 0,
    said: Sequence[str] = (),
    later: Sequence[str] = (),
) -> Shortlist:
    """The sentences nearest to the question. Empty without sources.

    Of the at most `quotes` sentences of an answer the best are quoted in any case, and where the question reports a
    trouble, what to do about it by the best one's source; with 0 the model picks all of them.
    Where a text is quoted together section by section, `said` is what its other sections say and `later` the questions
    of those to come: what is quoted already is not offered again, and what belongs to a later section is left to it,
    as long as there is an alternative. Raises `StoppedError` when the embedder may not be called.
    """
    documents = state.get("documents", [])
    parts = [[segment.text for segment in quotable(text)] for text in texts]
    found = [
        (source, document, part)
        for source, (document, part) in enumerate(zip(documents, parts, strict=True), start=1)
        if part
    ]
    if not found:
        return Shortlist()
    questions = [question, *later]
    asked = list(questions)
    for _, document, part in found:
        asked += [*part, *(f"{document['title']}: {sentence}" for sentence in part)]
    beside = EXAMPLES if quotes > 1 else ()
    vectors = (await services.models.embed(EmbeddingRequest("embedder", [*asked, *beside]))).vectors
    own, examples = vectors[len(questions) : len(asked)], vectors[len(asked) :]
    placed, *elsewhere = (
        _scored(one, cosines(vector, own), found) for one, vector in zip(questions, vectors, strict=False)
    )
    ranked = sorted(placed, key=lambda candidate: -candidate.score)
    first = ranked[0]
    others = [candidate.score for candidate in ranked if candidate.source != first.source]
    fresh = [candidate for candidate in ranked if not any(candidate.text in text for text in said)]
    free = [candidate for candidate in fresh if not _claimed(candidate, placed, elsewhere)]
    near = (_near(free, first) or _near(fresh, first) or _near(ranked, first))[:SHORTLIST]
    always = min(_BEST, quotes, len(near))
    if beside:
        start = 2 * sum(len(part) for source, _, part in found if source < first.source)
        passage = [candidate for candidate in placed if candidate.source == first.source]
        at = remedy(vectors[0], own[start : start + len(passage)], first.position, examples)
        best = near[: min(_BEST, quotes - 1)]
        if at is not None and passage[at] not in best:
            rest = [candidate for candidate in near[len(best) :] if candidate != passage[at]]
            near, always = [*best, passage[at], *rest][:SHORTLIST], len(best) + 1
    return Shortlist(near, always, first.score - max(others, default=0.0))


def _scored(
    question: str, cosines: Iterable[float], found: Sequence[tuple[int, DocumentRef, Sequence[str]]]
) -> list[Candidate]:
    """Every sentence under one question, in order; `cosines` are those of each document's sentences, then of the same
    under its title."""
    rest = iter(cosines)
    passages: list[SourcePassage] = []
    for _, document, part in found:
        alone, titled = ([*islice(rest, len(part))] for _ in range(2))
        passages.append(SourcePassage(document["title"], part, document["score"], alone, titled))
    return [
        Candidate(source, position, sentence, score)
        for (source, _, part), row in zip(found, scores(question, passages), strict=True)
        for position, (sentence, score) in enumerate(zip(part, row, strict=True))
    ]


def _near(free: Sequence[Candidate], first: Candidate) -> list[Candidate]:
    """Those of `free` that are near enough, compared with the best one left."""
    best = max((candidate.score for candidate in free if candidate.source == first.source), default=0.0)
    return [
        candidate
        for candidate in free
        for share, top in ((_NEAR, best) if candidate.source == first.source else (_NEAR_ELSEWHERE, first.score),)
        if candidate.score >= max(share * top, top - _GAP)
    ]


def _claimed(candidate: Candidate, placed: Sequence[Candidate], elsewhere: Sequence[Sequence[Candidate]]) -> bool:
    """Whether a later question is closer to this sentence, among the sentences of its source, than this one."""

    def lead(rows: Sequence[Candidate]) -> float:
        same = [row for row in rows if row.source == candidate.source]
        own = next(row.score for row in same if row.position == candidate.position)
        return own - sum(row.score for row in same) / len(same)

    return any(lead(rows) > lead(placed) for rows in elsewhere)


def choice_schema(count: int, most: int) -> dict[str, Any]:
    """JSON Schema of a choice of 1 to `most` of `count` numbered sentences."""
    numbers = {"type": "integer", "enum": list(range(1, count + 1))}
    return {
        "type": "object",
        "properties": {"sentences": {"type": "array", "items": numbers, "minItems": 1, "maxItems": min(most, count)}},
        "required": ["sentences"],
        "additionalProperties": False,
    }


def with_best(picked: Sequence[int], always: int, most: int) -> list[int]:
    """The numbers of the sentences that are `always` quoted, then what the model picked besides, at most `most`."""
    return list(dict.fromkeys([*range(1, always + 1), *picked]))[:most]


def assembled(candidates: Sequence[Candidate], chosen: Sequence[int]) -> str:
    """The chosen sentences, each once, in the order of their sources, each with its citation; a list or a block of code
    stands in lines of its own."""
    picked = {candidates[number - 1] for number in chosen}
    out = last = ""
    for candidate in sorted(picked, key=lambda candidate: (candidate.source, candidate.position)):
        cited = _cited(candidate)
        gap = "\n\n" if "\n" in last + cited else " "
        out, last = f"{out}{gap if out else ''}{cited}", cited
    return out


def _cited(candidate: Candidate) -> str:
    lines = "\n" in candidate.text
    text = candidate.text if lines or candidate.text.rstrip(_CLOSING).endswith(_STOPS) else f"{candidate.text}."
    # after the last line of a table or of code nothing may stand
    return (
        f"{text}{chr(10) * 2 if lines and text.endswith(_ENDS) else ' '}[{candidate.source}]"
        if candidate.source
        else text
    )


def cosines(one: Sequence[float], others: Sequence[Sequence[float]]) -> list[float]:
    """Of one embedding and each of the others; all have unit length, and equal ones get equal cosines."""
    import numpy as np

    asked = np.asarray(one, dtype=np.float64)
    # row by row: a matrix product may sum equal rows in different orders, by their place
    return [float(asked @ other) for other in np.asarray(others, dtype=np.float64)]
