"""Intervals of what an evaluation counts and measures, at 95 %.

Rates: Wilson's score interval (`models.probe.interval`). Safety rates: Clopper and Pearson's exact bound
(`routing.threshold.upper_bound`). Means, percentiles and calibration: the percentile bootstrap (Efron 1979), with a
fixed seed so that a report can be made again. A bootstrap over fewer than about 20 rows is too narrow; reports show n.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sluicegate.models.probe import interval

__all__ = ["Estimate", "bootstrap", "rate"]

Floats = NDArray[np.float64]

RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval and the number of rows it comes from."""

    value: float
    low: float
    high: float
    n: int
    by: str
    """How the interval was made: ``wilson`` or ``bootstrap``."""


def rate(hits: Sequence[float] | Floats) -> Estimate | None:
    """The share of ones among zeros and ones; None without rows."""
    if not len(hits):
        return None
    right, rows = int(sum(hits)), len(hits)
    return Estimate(right / rows, *interval(right, rows), rows, "wilson")


def bootstrap(values: Floats, figure: Callable[[Floats], float] = lambda rows: float(rows.mean())) -> Estimate | None:
    """A figure of rows (the first axis), resampled; None without rows."""
    if not len(values):
        return None
    drawn = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    figures = [figure(values[rows]) for rows in drawn]
    low, high = np.quantile(figures, [0.025, 0.975])
    return Estimate(figure(values), float(low), float(high), len(values), "bootstrap")
