"""Explains labels, and shows what another target would cost."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sluicegate.learning.threshold import NEVER, candidates, fit_threshold
from sluicegate.routing.calibration.per_intent import PerIntent, Scored, accepts, fit_per_intent
from sluicegate.routing.data import Labelled
from sluicegate.routing.intent.fit import Embed
from sluicegate.routing.intent.head import for_embedding
from sluicegate.routing.intent.lexical import words_of
from sluicegate.routing.intent.router import FittedRouter

__all__ = ["explain_text", "targets"]


async def explain_text(
    router: FittedRouter, text: str, examples: Labelled | None, *, embed: Embed | None, most: int = 5
) -> dict[str, Any]:
    """The decision with the features that contributed to the label and the nearest of `examples`.

    Nearest by embedding where the router has one, else by the words in common. Raises `ModelError`.
    """
    vector = await router.vector(text)
    found = router.decide(text, vector)
    head = router.artifact.head
    said = head.evidence(text, found.label, vector)
    return {
        "label": found.label,
        "confidence": found.confidence,
        "threshold": found.threshold,
        "accepted": found.confidence >= found.threshold,
        "unlike": found.unlike,
        "out_of_scope": found.out_of_scope,
        "alternatives": [dict(score) for score in found.alternatives[:most]],
        "evidence": [{"view": e.view, "feature": e.feature, "weight": e.weight} for e in said],
        "nearest": await _nearest(router, text, vector, examples, embed, most) if examples else [],
        "artifact": found.artifact,
    }


async def _nearest(
    router: FittedRouter, text: str, vector: Any, examples: Labelled, embed: Embed | None, most: int
) -> list[dict[str, Any]]:
    if vector is not None and embed is not None:
        words = router.artifact.head.embed_words
        cut = [for_embedding(example, words) for example in examples.texts]
        closeness = await embed(cut, lambda _done, _all: None) @ vector
    else:
        asked = set(words_of(text))
        sets = [set(words_of(example)) for example in examples.texts]
        closeness = np.array([len(asked & other) / max(1, len(asked | other)) for other in sets])
    order = np.argsort(-closeness, kind="stable")[:most].tolist()
    return [{"text": examples.texts[i], "label": examples.labels[i], "closeness": float(closeness[i])} for i in order]


async def targets(
    router: FittedRouter,
    rows: Labelled,
    errors: Sequence[float],
    confidence: float,
    *,
    on_progress: Callable[[int, int, str], None] = lambda _done, _all, _what: None,
) -> dict[str, Any]:
    """The threshold and coverage of each target error, for everything together and per intent.

    Half of the rows, drawn once, make the order in which thresholds are tested and say which intents are tested alone;
    the others prove them. Thresholds per intent are proved as one family (`routing.calibration.per_intent`), at the
    first error.
    """
    sure: list[float] = []
    right: list[bool] = []
    given: list[int] = []
    column = {label: index for index, label in enumerate(router.labels)}
    for index, (text, label) in enumerate(zip(rows.texts, rows.labels, strict=True)):
        found = await router.classify(text)
        sure.append(found.confidence)
        right.append(found.label == label)
        given.append(column[found.label])
        on_progress(index + 1, len(rows), "rows")
    scored = Scored(np.array(sure), np.array(given), np.array(right))
    ordering = np.random.default_rng(3).permutation(len(scored)) % 2 == 0
    reference, proof = scored.of(ordering), scored.of(~ordering)
    overall = [_target(reference, proof, error, confidence) for error in errors]
    families = [fit_per_intent(reference, proof, len(column), error=error, confidence=confidence) for error in errors]
    for row, family in zip(overall, families, strict=True):
        taken = accepts(family.served(len(column)), proof)
        row["coverage_per_intent"] = float(taken.mean())
    return {
        "rows": len(rows),
        "confidence": confidence,
        "level": families[0].level,
        "overall": overall,
        "per_intent": [_intent(name, index, proof, families[0]) for name, index in column.items()],
    }


def _intent(name: str, index: int, proof: Scored, family: PerIntent) -> dict[str, Any]:
    """One label's own threshold, or the one it shares with the rest and the rows it still needs for its own."""
    mine = proof.of(proof.found == index)
    found = family.own.get(index, family.rest)
    taken = mine.confidence >= (NEVER if found is None else found.value)
    return {
        "label": name,
        "rows": len(mine),
        "own": index in family.own,
        "threshold": None if found is None else found.value,
        "coverage": float(taken.mean()) if len(mine) else None,
        "accepted_accuracy": float(mine.right[taken].mean()) if taken.any() else None,
        "needed": family.needed.get(index, 0),
    }


def _target(reference: Scored, proof: Scored, error: float, level: float) -> dict[str, Any]:
    grid = candidates(reference.confidence, reference.right, rows=len(proof), error=error, level=level)
    found = fit_threshold(proof.confidence, proof.right, grid, error=error, level=level)
    if found is None:
        return {"error": error, "threshold": None, "coverage": 0.0, "accepted_accuracy": None, "bound": None}
    accuracy = 1 - found.wrong / found.accepted if found.accepted else None
    return {
        "error": error,
        "threshold": found.value,
        "coverage": found.coverage,
        "accepted_accuracy": accuracy,
        "bound": found.bound,
    }
