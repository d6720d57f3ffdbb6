"""Evaluates a fitted confidence in answers on graded answers that it was not fitted on."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sluicegate.errors import InsufficientDataError
from sluicegate.learning.threshold import upper_bound
from sluicegate.routing.answers.answer import AnswerFit
from sluicegate.routing.answers.fit import Graded
from sluicegate.routing.calibration.calibration import ece, reliability
from sluicegate.routing.calibration.metrics import auroc
from sluicegate.services import AnswerConfidence

__all__ = ["report_answers"]


def report_answers(sure: AnswerFit, graded: Sequence[Graded]) -> dict[str, Any]:
    """Accuracy of "right" at 0.5, AUROC, ECE with its diagram, and what the threshold accepts with its error.

    Only of answers of the model and style that it was fitted to; those of others are counted as ``left_out``. Raises
    `ModelError` SG313 when none is left.

    Where the rows tell whether a document has the answer, ``answerability`` has the AUROC and ECE of that, too.
    """
    own = [row for row in graded if sure.judges(row.origin)]
    if not own:
        fitted = " or ".join(f"{model} in style {style!r}" for model, style in sorted(sure.origins))
        raise InsufficientDataError(f"none of the {len(graded)} answers is of {fitted}")
    left_out, graded = len(graded) - len(own), own
    judged = [sure.of(row.features, row.vector) for row in graded]
    chance = np.array([one.confidence for one in judged])
    right = np.array([row.right for row in graded], bool)
    accepted = chance >= sure.threshold
    count, wrong = int(accepted.sum()), int((accepted & ~right).sum())
    return {
        "rows": len(graded),
        "left_out": left_out,
        "answerability": _answerability(judged, graded) if sure.known else None,
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


def _answerability(judged: Sequence[AnswerConfidence], graded: Sequence[Graded]) -> dict[str, Any] | None:
    told = [(one.answerability, row.known) for one, row in zip(judged, graded, strict=True) if row.known is not None]
    chance, known = np.array([chance for chance, _ in told]), np.array([known for _, known in told], bool)
    if known.all() or not known.any():
        return None
    return {"rows": len(told), "known": float(known.mean()), "auroc": auroc(chance, known), "ece": ece(chance, known)}
