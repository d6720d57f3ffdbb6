"""Why a text got its label, and what another target would cost."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sluicegate.routing.data import Labelled
from sluicegate.routing.fit import Embed
from sluicegate.routing.head import for_embedding
from sluicegate.routing.lexical import words_of
from sluicegate.routing.router import FittedRouter
from sluicegate.routing.threshold import candidates, fit_threshold, least_rows

__all__ = ["explain_text", "targets"]


async def explain_text(
    router: FittedRouter, text: str, examples: Labelled | None, *, embed: Embed | None, most: int = 5
) -> dict[str, Any]:
    """The decision with the features that spoke for the label and the nearest of `examples`.

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
    """The threshold and coverage of each target error, and per intent at the first of them.

    Half of the rows, drawn once, make the order in which thresholds are tested, the others prove them. Per-intent
    thresholds are proved together, with a Bonferroni correction over the intents that have enough rows: each at
    ``1 - (1 - confidence) / intents``. The others are named with the rows they still need.
    """
    sure: list[float] = []
    right: list[bool] = []
    labels: list[str] = []
    for index, (text, label) in enumerate(zip(rows.texts, rows.labels, strict=True)):
        found = await router.classify(text)
        sure.append(found.confidence)
        right.append(found.label == label)
        labels.append(found.label)
        on_progress(index + 1, len(rows), "rows")
    scores, hits = np.array(sure), np.array(right)
    order = np.random.default_rng(3).permutation(len(scores)) % 2 == 0
    overall = [_target(scores, hits, order, error, confidence) for error in errors]
    counts = Counter(label for label, ordering in zip(labels, order.tolist(), strict=True) if not ordering)
    able = [name for name, count in counts.items() if count >= 2 * least_rows(errors[0], confidence)]
    level = 1 - (1 - confidence) / max(1, len(able))
    per_intent: list[dict[str, Any]] = []
    for name in sorted(counts):
        mine = np.array([label == name for label in labels])
        row: dict[str, Any] = {"label": name, "rows": counts[name]}
        if name in able:
            proved = _target(scores[mine], hits[mine], order[mine], errors[0], level)
            row |= {key: proved[key] for key in ("threshold", "coverage", "accepted_accuracy")} | {"needed": 0}
        else:
            needed = 2 * least_rows(errors[0], confidence) - counts[name]
            row |= {"threshold": None, "coverage": None, "accepted_accuracy": None, "needed": needed}
        per_intent.append(row)
    return {"rows": len(rows), "confidence": confidence, "level": level, "overall": overall, "per_intent": per_intent}


def _target(scores: Any, hits: Any, order: Any, error: float, level: float) -> dict[str, Any]:
    grid = candidates(scores[order], hits[order], rows=int((~order).sum()), error=error, level=level)
    found = fit_threshold(scores[~order], hits[~order], grid, error=error, level=level)
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
