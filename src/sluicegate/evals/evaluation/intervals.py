"""95 % confidence intervals of evaluation metrics.

Rates: Wilson's score interval (`models.probes.probe.interval`). Safety rates: Clopper and Pearson's exact bound
(`learning.threshold.upper_bound`). Means, percentiles and calibration: the percentile bootstrap (Efron
1979), with a fixed seed, so that a report is reproducible. A bootstrap over fewer than about 20 rows is too narrow;
reports show n.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sluicegate.models.probes.probe import interval

__all__ = ["Estimate", "bootstrap", "bootstrap_rows", "rate"]

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
    """The method of the interval: ``wilson`` or ``bootstrap``."""


def rate(hits: Sequence[float] | Floats) -> Estimate | None:
    """The share of ones among zeros and ones; None without rows."""
    if not len(hits):
        return None
    right, rows = int(sum(hits)), len(hits)
    return Estimate(right / rows, *interval(right, rows), rows, "wilson")


def bootstrap(values: Floats, figure: Callable[[Floats], Any] = lambda rows: rows.mean(axis=-1)) -> Estimate | None:
    """A figure of values along the last axis, resampled; None without values."""
    if not len(values):
        return None
    drawn = _drawn(len(values))
    return _estimate(figure(values), figure(values[drawn]), len(values))


def bootstrap_rows(rows: Floats, figure: Callable[[Floats], float]) -> Estimate | None:
    """A figure of whole rows (the first axis), resampled; None without rows."""
    if not len(rows):
        return None
    return _estimate(figure(rows), [figure(rows[drawn]) for drawn in _drawn(len(rows))], len(rows))


def _drawn(n: int) -> NDArray[np.int64]:
    return np.random.default_rng(0).integers(0, n, (RESAMPLES, n))


def _estimate(value: float, resampled: Any, n: int) -> Estimate:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Estimate(float(value), float(low), float(high), n, "bootstrap")
