"""Evaluates a semantic cache on labelled pairs of questions, by similarity and verifier.

A pair is a hit when its embeddings reach the similarity and the verifier is certain. Precision is the share of hits
that are true paraphrases, recall the share of true paraphrases that are hits; both with Wilson's 95 % interval. The
same metrics for the similarity alone show the benefit of the verifier.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from sluicegate.errors import ConfigError, Place, Problem
from sluicegate.evals.evaluation.intervals import Estimate, rate
from sluicegate.files import MAX_ROWS_BYTES, json_lines, read_bounded
from sluicegate.policies.cache.paraphrase import difference
from sluicegate.services import EmbeddingRequest, Models

__all__ = ["PairTrial", "QuestionPair", "figures", "read_pairs", "try_pairs"]


class QuestionPair(BaseModel):
    """A row of a file of pairs."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    one: str
    other: str
    same: bool
    """Whether one answer is right for both."""
    kind: str = ""
    """The kind of resemblance or difference."""
    part: str = ""
    """``build`` for pairs that the verifier was developed on, ``held`` for held-out ones."""


@dataclass(frozen=True, slots=True)
class PairTrial:
    """One pair with the cache's verdict."""

    pair: QuestionPair
    similarity: float
    difference: str
    """Why the verifier rejects it; empty when it does not."""


def read_pairs(file: Path, *, part: str = "") -> list[QuestionPair]:
    """The pairs of a JSON Lines file, or one part of them.

    Raises `ConfigError` SG101 (unreadable), SG140 (bad rows, each by its line, or none of this part).
    """
    try:
        text = read_bounded(file, MAX_ROWS_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise ConfigError([Problem("SG101", f"cannot read {file}: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem("SG101", f"cannot read {file}: {type(error).__name__}")]) from error
    pairs: list[QuestionPair] = []
    problems: list[Problem] = []
    for number, line in json_lines(text):
        try:
            pairs.append(QuestionPair.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            what = f"not a pair: {'.'.join(map(str, first['loc']))} {first['msg']}"
            hint = 'A row is {"one": "…", "other": "…", "same": true}, with an optional "kind" and "part"'
            problems.append(Problem("SG140", what, Place(str(file), number, 1), hint=hint))
    chosen = [pair for pair in pairs if not part or pair.part == part]
    if not chosen and not problems:
        parts = tuple(sorted({pair.part for pair in pairs if pair.part}))
        problems.append(
            Problem("SG140", f"{file} has no pairs" + (f" of split {part!r}" if part else ""), choices=parts)
        )
    if problems:
        raise ConfigError(problems)
    return chosen


async def try_pairs(pairs: Sequence[QuestionPair], models: Models, embedder: str = "embedder") -> list[PairTrial]:
    """Embed and compare. Raises `ModelError`."""
    vectors = (
        await models.embed(EmbeddingRequest(embedder, [text for pair in pairs for text in (pair.one, pair.other)]))
    ).vectors
    found: list[PairTrial] = []
    for pair, one, other in zip(pairs, vectors[::2], vectors[1::2], strict=True):
        similarity = sum(a * b for a, b in zip(one, other, strict=True))
        found.append(PairTrial(pair, similarity, difference(pair.one, pair.other)))
    return found


def figures(tried: Sequence[PairTrial], similarity: float) -> dict[str, Any]:
    """Plain data: counts, precision and recall of the cache and of the similarity alone, and both by kind."""
    kinds = dict.fromkeys((each.pair.kind, each.pair.same) for each in tried)
    return {
        "pairs": len(tried),
        "similarity": similarity,
        **_both([each for each in tried if each.similarity >= similarity and not each.difference], tried),
        "similarity_alone": _both([each for each in tried if each.similarity >= similarity], tried),
        "kinds": [
            {
                "kind": kind,
                "same": same,
                "pairs": sum(1 for each in tried if (each.pair.kind, each.pair.same) == (kind, same)),
                "hits": sum(
                    1
                    for each in tried
                    if (each.pair.kind, each.pair.same) == (kind, same)
                    and each.similarity >= similarity
                    and not each.difference
                ),
            }
            for kind, same in sorted(kinds)
        ],
        "false_hits": [
            [each.pair.one, each.pair.other]
            for each in tried
            if not each.pair.same and each.similarity >= similarity and not each.difference
        ],
    }


def _both(hits: Sequence[PairTrial], tried: Sequence[PairTrial]) -> dict[str, Any]:
    paraphrases = [each for each in tried if each.pair.same]
    chosen = {id(each) for each in hits}
    return {
        "hits": len(hits),
        "precision": _plain(rate([float(each.pair.same) for each in hits])),
        "recall": _plain(rate([float(id(each) in chosen) for each in paraphrases])),
    }


def _plain(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {"value": round(estimate.value, 4), "low": round(estimate.low, 4), "high": round(estimate.high, 4)}
