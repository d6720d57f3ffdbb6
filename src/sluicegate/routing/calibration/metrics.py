"""Metrics of a router's report; plain arrays in, plain numbers out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sluicegate.extras import fitting

__all__ = ["auroc", "confusion", "macro_f1", "per_class", "quantile"]

Ints = NDArray[np.integer]


def confusion(target: Ints, found: Ints, classes: int) -> NDArray[np.int64]:
    """Counts by (true class, found class)."""
    return np.bincount(target * classes + found, minlength=classes * classes).reshape(classes, classes)


def per_class(counts: NDArray[np.int64], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and rows of every class that has rows or was found, in the order of `labels`."""
    rows, found, hits = counts.sum(axis=1), counts.sum(axis=0), counts.diagonal()
    table: list[dict[str, Any]] = []
    for index, label in enumerate(labels):
        if not rows[index] and not found[index]:
            continue
        precision = float(hits[index] / found[index]) if found[index] else 0.0
        recall = float(hits[index] / rows[index]) if rows[index] else 0.0
        total = precision + recall
        table.append(
            {
                "label": label,
                "rows": int(rows[index]),
                "precision": precision,
                "recall": recall,
                "f1": 2 * precision * recall / total if total else 0.0,
            }
        )
    return table


def macro_f1(counts: NDArray[np.int64]) -> float:
    """The mean F1 over the classes that have rows."""
    hits, rows, found = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    scored = 2 * hits / np.maximum(rows + found, 1)
    return float(scored[rows > 0].mean()) if (rows > 0).any() else 0.0


def auroc(score: NDArray[np.floating], positive: NDArray[np.bool_]) -> float | None:
    """Probability that a positive row scores above a negative one, ties counted half; None without both kinds."""
    stats = fitting("scipy.stats")
    hits = int(positive.sum())
    if not hits or hits == len(positive):
        return None
    ranks: NDArray[np.floating] = stats.rankdata(score)
    above = float(ranks[positive].sum()) - hits * (hits + 1) / 2
    return above / (hits * (len(positive) - hits))


def quantile(values: Sequence[float], share: float) -> float:
    """A quantile by linear interpolation; 0 without values."""
    return float(np.quantile(np.asarray(values, float), share)) if len(values) else 0.0
