"""The cost-quality curve of escalation and its metrics, as RouteLLM defines them.

A score orders the requests; the share with the highest scores goes to the large (strong) model, the rest to the small
(weak) one. The performance gap recovered at a share is ``(accuracy - weak) / (strong - weak)``; APGR is its mean over
the shares, CPT(x) the share of calls to the large model that recovers x of the gap (Ong et al. 2024, "RouteLLM:
Learning to Route LLMs with Preference Data", arXiv 2406.18665, section 3). The shares are the deciles of the score,
with ties on the same side, and APGR is the area by the trapezoid rule over the shares that occur, as in RouteLLM's
own evaluation.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["CostQuality", "cost_quality"]

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CostQuality:
    """The curve and its figures. Shares and accuracies are in [0, 1]."""

    points: list[tuple[float, float]]
    """(share of calls to the strong model, accuracy), by share."""
    weak: float
    strong: float
    apgr: float | None
    """None when the strong model is no better than the weak one: there is no gap to recover."""
    cpt50: float | None
    cpt80: float | None


def cost_quality(score: NDArray[np.floating], weak: Bools, strong: Bools, *, bins: int = 10) -> CostQuality:
    """The curve of sending the highest scores to the strong model; `weak` and `strong` say who was right."""
    edges = np.unique(np.quantile(score, np.linspace(0, 1, bins + 1)))
    points: list[tuple[float, float]] = []
    for index, edge in enumerate(edges):
        sent = score >= edge if index < len(edges) - 1 else score > edge
        points.append((float(sent.mean()), float(np.where(sent, strong, weak).mean())))
    points.sort()
    low, high = float(weak.mean()), float(strong.mean())
    gap = high - low
    if gap <= 0 or points[0][0] == points[-1][0]:
        return CostQuality(points, low, high, None, None, None)
    shares = np.array([share for share, _ in points])
    recovered = np.array([(accuracy - low) / gap for _, accuracy in points])
    area = float(np.trapezoid(recovered, shares)) / float(shares[-1] - shares[0])
    return CostQuality(points, low, high, area, _reaches(shares, recovered, 0.5), _reaches(shares, recovered, 0.8))


def _reaches(shares: NDArray[np.floating], recovered: NDArray[np.floating], goal: float) -> float | None:
    """The smallest share at which the line through the points recovers `goal`."""
    for index in range(len(shares)):
        if recovered[index] >= goal:
            if not index:
                return float(shares[0])
            left, right = recovered[index - 1], recovered[index]
            part = (goal - left) / (right - left)
            return float(shares[index - 1] + part * (shares[index] - shares[index - 1]))
    return None
