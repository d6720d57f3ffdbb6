"""Evaluates a router on labelled rows: the metrics of `sluicegate router report`."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sluicegate.errors import ModelError
from sluicegate.learning.threshold import upper_bound
from sluicegate.routing.calibration.calibration import ece, reliability
from sluicegate.routing.calibration.metrics import auroc, confusion, macro_f1, per_class, quantile
from sluicegate.routing.data import Labelled
from sluicegate.routing.intent.router import FittedRouter
from sluicegate.services import Classification

__all__ = ["report_intents"]

Progress = Callable[[int, int, str], None]


async def report_intents(
    router: FittedRouter, rows: Labelled, *, on_progress: Progress = lambda _done, _all, _what: None
) -> dict[str, Any]:
    """Run every row through `router`, one at a time as in use, and count.

    `foreign` and `novel` are the shares that are unlike the calibration rows, by their language or their wording and
    meaning; `novel_bound` is the bound on `novel` for requests that are like them (`calibration.likeness`).
    `coverage` is the share at or above its threshold, `accepted_accuracy` how much of it is right; `oos_recall` is the
    share of out-of-scope rows that are called so, `oos_auroc` how well their probability orders them; both are None
    without such rows. Latencies include the embedding. Raises `ModelError` SG312 for labels the router does not have.
    """
    labels = router.labels
    column = {label: index for index, label in enumerate(labels)}
    outside = router.artifact.card["out_of_scope"]
    unknown = sorted(set(rows.labels) - set(labels))
    if unknown:
        raise ModelError(
            "SG312",
            f"the rows have labels the router does not know: {', '.join(unknown[:5])}",
            hint="Use rows with its labels, or fit it again with these",
        )
    found: list[Classification] = []
    milliseconds: list[float] = []
    for index, text in enumerate(rows.texts):
        started = time.perf_counter()
        found.append(await router.classify(text))
        milliseconds.append((time.perf_counter() - started) * 1000)
        on_progress(index + 1, len(rows), "rows")
    target = np.array([column[label] for label in rows.labels])
    picked = np.array([column[c.label] for c in found])
    confidence = np.array([c.confidence for c in found])
    accepted = np.array([c.confidence >= c.threshold for c in found])
    right = picked == target
    counts = confusion(target, picked, len(labels))
    return {
        "rows": len(rows),
        "accuracy": float(right.mean()),
        "macro_f1": macro_f1(counts),
        "ece": ece(confidence, right),
        "threshold": router.threshold,
        "target": {**router.artifact.card["target"], "per": router.per},
        "coverage": float(accepted.mean()),
        "accepted_accuracy": float(right[accepted].mean()) if accepted.any() else None,
        "foreign": sum(c.unlike == "language" for c in found) / len(found),
        "novel": sum(c.unlike == "novelty" for c in found) / len(found),
        "novel_bound": router.artifact.card.get("likeness", {}).get("bound"),
        "accepted_error_bound": upper_bound(
            int((accepted & ~right).sum()), int(accepted.sum()), router.artifact.card["target"]["confidence"]
        ),
        **_out_of_scope(found, outside, column, target, right),
        "latency_ms_p50": quantile(milliseconds, 0.5),
        "latency_ms_p95": quantile(milliseconds, 0.95),
        "per_class": per_class(counts, labels),
        "thresholds": _thresholds(router, picked, right, accepted),
        "confused": _confused(counts, labels),
        "reliability": [
            {"low": b.low, "high": b.high, "count": b.count, "confidence": b.confidence, "accuracy": b.accuracy}
            for b in reliability(confidence, right)
        ],
        "artifact": router.artifact.hash,
    }


def _thresholds(
    router: FittedRouter, picked: NDArray[np.int64], right: NDArray[np.bool_], accepted: NDArray[np.bool_]
) -> list[dict[str, Any]]:
    """Of each label that was given: the threshold, where it is from, and what it let through.

    `bound` is the Clopper-Pearson upper bound of that label's accepted error rate on these rows alone.
    """
    card = router.artifact.card
    rows: list[dict[str, Any]] = []
    for index, label in enumerate(router.labels):
        given = picked == index
        taken = given & accepted
        if not given.any():
            continue
        count, hits = int(taken.sum()), int((taken & right).sum())
        rows.append(
            {
                "label": label,
                "given": int(given.sum()),
                "threshold": router.threshold_of(label),
                "own": router.has_own(label),
                "coverage": count / int(given.sum()),
                "accepted_accuracy": hits / count if count else None,
                "bound": upper_bound(count - hits, count, card["target"]["confidence"]),
            }
        )
    return rows


def _out_of_scope(
    found: list[Classification],
    outside: str | None,
    column: dict[str, int],
    target: NDArray[np.int64],
    right: NDArray[np.bool_],
) -> dict[str, Any]:
    if outside is None:
        return {"in_scope_accuracy": float(right.mean()), "oos_recall": None, "oos_auroc": None}
    is_outside = target == column[outside]
    score = np.array([next(s["confidence"] for s in c.alternatives if s["label"] == outside) for c in found])
    return {
        "in_scope_accuracy": float(right[~is_outside].mean()) if (~is_outside).any() else None,
        "oos_recall": float(right[is_outside].mean()) if is_outside.any() else None,
        "oos_auroc": auroc(score, is_outside),
    }


def _confused(counts: NDArray[np.int64], labels: list[str], most: int = 20) -> list[dict[str, Any]]:
    """The most frequent confusions."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(at), len(labels)) for at in order]
    return [{"true": labels[i], "found": labels[j], "rows": int(wrong[i, j])} for i, j in pairs if wrong[i, j]]
