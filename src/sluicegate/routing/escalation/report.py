"""Evaluates a fitted escalation on rows that it was not fitted on."""

from typing import Any

import numpy as np

from sluicegate.routing.calibration.calibration import ece
from sluicegate.routing.data import Escalations
from sluicegate.routing.escalation.costquality import CostQuality, cost_quality
from sluicegate.routing.escalation.escalate import EscalationRouter
from sluicegate.routing.intent.fit import Progress, silent

__all__ = ["figures", "report_escalation"]


async def report_escalation(
    router: EscalationRouter, rows: Escalations, *, on_progress: Progress = silent
) -> dict[str, Any]:
    """Score every row and draw the cost-quality curve: `apgr`, `cpt50`, `cpt80` (shares), and the points."""
    scores: list[float] = []
    for index, prompt in enumerate(rows.prompts):
        scores.append(await router.score(prompt))
        on_progress(index + 1, len(rows), "rows")
    score, weak, strong = np.array(scores), np.array(rows.weak), np.array(rows.strong)
    sent = score >= router.threshold
    return {
        "rows": len(rows),
        **figures(cost_quality(score, weak, strong)),
        "ece": ece(score, strong & ~weak),
        "threshold": router.threshold,
        "sent": float(sent.mean()),
        "accuracy": float(np.where(sent, strong, weak).mean()),
        "artifact": router.card["hash"],
    }


def figures(curve: CostQuality) -> dict[str, Any]:
    """A curve as cards and reports have it."""
    return {
        "apgr": curve.apgr,
        "cpt50": curve.cpt50,
        "cpt80": curve.cpt80,
        "weak_accuracy": curve.weak,
        "strong_accuracy": curve.strong,
        "curve": [list(point) for point in curve.points],
    }
