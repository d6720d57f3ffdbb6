"""Whether the joint scores of runs are still drawn as those of the graded requests, tested as the runs come.

A conformal test martingale (Vovk, Gammerman and Shafer 2022, "Algorithmic Learning in a Random World", chapter 8; as
the Simple Jumper of Vovk et al. 2021, "Retrain or Not Retrain: Conformal Test Martingales for Change-Point Detection",
arXiv 2102.10439). While runs and graded requests are exchangeable, the share of scores that are lower is uniform, and
money bet against that does not grow: by Ville's inequality it ever reaches `ALARM` with a probability of at most
1 / `ALARM`, however often it is looked at.
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["ALARM", "BLOCK", "Drifted", "drifted"]

ALARM = 100.0
BLOCK = 2000
"""Runs after which the test begins anew, so that a long time without drift does not hide one, nor make it slow."""
JUMP = 0.01
BETS = np.array([-1.0, 0.0, 1.0])


@dataclass(frozen=True, slots=True)
class Drifted:
    runs: int
    """That were tested."""
    evidence: float
    """The largest value of the martingale, which begins at 1."""

    @property
    def drifted(self) -> bool:
        return self.evidence >= ALARM


def drifted(reference: Sequence[float], scores: Sequence[float]) -> Drifted:
    """Test the latest block of `scores`, oldest first, against those of the graded requests."""
    latest = scores[(len(scores) - 1) // BLOCK * BLOCK :] if scores else ()
    known, ties = sorted(reference), np.random.default_rng(0)
    capital, most = np.full(len(BETS), 1 / len(BETS)), 1.0
    for score in latest:
        bisect.insort(known, score)
        lower, upper = bisect.bisect_left(known, score), bisect.bisect_right(known, score)
        uniform = (lower + ties.random() * (upper - lower)) / len(known)
        capital = (1 - JUMP) * capital + JUMP * capital.sum() / len(BETS)
        capital *= 1 + BETS * (uniform - 0.5)
        most = max(most, float(capital.sum()))
    return Drifted(len(latest), most)
