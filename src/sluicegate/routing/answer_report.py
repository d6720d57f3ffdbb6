"""How well a fitted confidence in answers holds on graded answers that it was not fitted on."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sluicegate.routing.answer import AnswerConfidence, Graded
from sluicegate.routing.calibration import ece, reliability
from sluicegate.routing.metrics import auroc
from sluicegate.routing.threshold import upper_bound

__all__ = ["report_answers"]


def report_answers(sure: AnswerConfidence, graded: Sequence[Graded]) -> dict[str, Any]:
    """Accuracy of "right" at 0.5, AUROC, ECE with its diagram, and what the threshold accepts with its error."""
    chance = np.array([sure.of(row.features) for row in graded])
    right = np.array([row.right for row in graded], bool)
    accepted = chance >= sure.threshold
    count, wrong = int(accepted.sum()), int((accepted & ~right).sum())
    return {
        "rows": len(graded),
        "right": float(right.mean()),
        "accuracy": float(((chance >= 0.5) == right).mean()),
        "auroc": auroc(chance, right),
        "ece": ece(chance, right),
        "threshold": sure.threshold,
        "coverage": count / len(graded),
        "accepted": count,
        "accepted_accuracy": 1 - wrong / count if count else 0.0,
        "accepted_error_bound": upper_bound(wrong, count, sure.level),
        "reliability": [
            {"low": b.low, "high": b.high, "count": b.count, "confidence": b.confidence, "accuracy": b.accuracy}
            for b in reliability(chance, right)
        ],
    }
