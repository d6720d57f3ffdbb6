"""Confidence sequences: bounds on a mean that stay valid however often and whenever they are looked at.

A gambler bets, pair after pair, that the mean of observations in [0, 1] is above `m`. While it is not, the capital is
a nonnegative supermartingale, so the chance that it ever reaches ``1 / error`` is at most `error` (Ville's inequality).
The values of `m` against which the capital has not reached that are a confidence sequence (Waudby-Smith and Ramdas
2024, "Estimating means of bounded random variables by betting", J. R. Stat. Soc. B 86(1), section 4: the capital
process and its inversion). The stake is a fixed share of what may be staked, and the capital is the mean over a grid of
shares (diversified Kelly betting, in the same paper's appendix on how to bet): it needs no tuning to the data, is close
to the best fixed stake in hindsight, and falls as `m` grows, so that the bound and the test at one value always agree.

This assumes a stationary mean, given the observations before. Traffic that changes during the comparison breaks this;
plans therefore require a number of days.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bounds", "difference_bounds", "difference_sequence", "lower_bound"]

Floats = NDArray[np.floating]

SHARES = np.geomspace(0.005, 0.95, 14)
"""Stakes as shares of the largest that cannot be lost beyond the capital."""

GRID = 2000
"""Observations are rounded down to this many steps (up, for an upper bound): a little looser, still valid."""

_HALVINGS = 22


@dataclass(frozen=True, slots=True)
class Bounds:
    """A mean and its bounds, each of which fails with the sequence's error, whenever it is looked at."""

    mean: float
    low: float
    high: float
    n: int


def lower_bound(values: Floats, error: float) -> float:
    """The largest mean that `values`, each in [0, 1], rule out from below at `error`; 0 when they rule out none."""
    return _lower(*_counted(values), error)


def difference_bounds(differences: Floats, error: float) -> Bounds:
    """Bounds on the mean of `differences`, each in [-1, 1]; each of the two bounds fails with chance `error`."""
    if not len(differences):
        return Bounds(0.0, -1.0, 1.0, 0)
    unit = _unit(differences)
    low, high = lower_bound(unit, error), 1 - lower_bound(1 - unit, error)
    return Bounds(float(np.mean(differences)), 2 * low - 1, 2 * high - 1, len(differences))


def difference_sequence(differences: Floats, error: float, *, steps: int = 40) -> list[Bounds]:
    """`difference_bounds` as they stood at about `steps` sizes, evenly spaced on a logarithmic scale, up to now."""
    if not len(differences):
        return []
    sizes = np.unique(np.geomspace(min(10, len(differences)), len(differences), steps).astype(int))
    return [difference_bounds(differences[:size], error) for size in sizes]


def _unit(differences: Floats) -> Floats:
    if len(differences) and (differences.min() < -1 or differences.max() > 1):
        raise ValueError("differences must be in [-1, 1]; give the metric a cap")
    return (differences + 1) / 2


def _counted(values: Floats) -> tuple[Floats, Floats]:
    """Distinct values, rounded down to the grid, and how often each occurs: the capital depends on nothing else."""
    steps, counts = np.unique(np.floor(values * GRID + 1e-9), return_counts=True)
    return steps / GRID, counts.astype(float)


def _lower(values: Floats, counts: Floats, error: float) -> float:
    low, high = 0.0, float(values @ counts / counts.sum())
    if high <= 0:
        return 0.0
    goal = np.log(1 / error)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        # log(1 + share * (value / m - 1)), with one outer product for all shares
        logs = np.log(np.outer(SHARES / middle, values) + (1 - SHARES)[:, None]) @ counts
        if np.logaddexp.reduce(logs) - np.log(len(SHARES)) >= goal:
            low = middle
        else:
            high = middle
    return low
