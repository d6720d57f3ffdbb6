"""The confidence from which a decision may be trusted, with a guarantee.

Learn-then-Test (Angelopoulos, Bates, Candès, Jordan and Lei 2021, "Learn then Test: Calibrating Predictive Algorithms
to Achieve Risk Control"): each candidate threshold is a hypothesis "the accepted share is wrong more than `error` of
the time". Given how many requests it accepts, the number of wrong ones is binomial, so its exact tail is a valid
p-value (the test behind the Clopper-Pearson bound, see also Bates et al. 2021, "Distribution-free, risk-controlling
prediction sets"). Candidates are tested in an order fixed beforehand, from strict to lenient, each at the full level,
until one is not rejected (fixed-sequence testing: no correction is needed). The last one rejected holds: over the
draw of the calibration rows, its accepted share is wrong at most `error` of the time with probability `confidence`.

The order must not look at the calibration rows: `candidates` makes it from other rows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sluicegate.extras import fitting

__all__ = [
    "NEVER",
    "Threshold",
    "candidates",
    "described",
    "fit_threshold",
    "least_rows",
    "rows_needed",
    "strength",
    "upper_bound",
]

NEVER = 2.0
"""A threshold that no confidence reaches."""

STEPS = 200


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold and what was seen at it on the calibration rows."""

    value: float
    error: float
    confidence: float
    accepted: int
    wrong: int
    rows: int
    bound: float
    """Upper bound on the accepted share's error rate, at `confidence`."""

    @property
    def coverage(self) -> float:
        return self.accepted / self.rows if self.rows else 0.0


def described(threshold: Threshold | None) -> dict[str, Any]:
    """A threshold as an artifact's card has it; without one, nothing is accepted."""
    if threshold is None:
        return {"value": NEVER, "proved": False}
    return {
        "value": threshold.value,
        "proved": True,
        "accepted": threshold.accepted,
        "wrong": threshold.wrong,
        "rows": threshold.rows,
        "bound": threshold.bound,
    }


def upper_bound(wrong: int, rows: int, confidence: float) -> float:
    """Clopper-Pearson upper bound on an error rate, one-sided: `wrong` of `rows` were wrong."""
    return 1.0 if wrong >= rows else float(fitting("scipy.stats").beta.ppf(confidence, wrong + 1, rows - wrong))


def least_rows(error: float, confidence: float) -> int:
    """Minimum accepted rows, all of them right, to prove `error` at `confidence`."""
    return math.ceil(math.log(1 - confidence) / math.log(1 - error))


def rows_needed(rate: float, error: float, confidence: float) -> int | None:
    """Accepted rows needed to prove `error` when `rate` of them are wrong; None when no number suffices."""
    if rate >= error:
        return None
    low = high = least_rows(error, confidence)
    while upper_bound(math.ceil(rate * high), high, confidence) > error:
        low, high = high, high * 2
        if high > 10_000_000:
            return None
    while low < high:
        middle = (low + high) // 2
        if upper_bound(math.ceil(rate * middle), middle, confidence) <= error:
            high = middle
        else:
            low = middle + 1
    return high


def candidates(
    confidence: NDArray[np.floating], right: NDArray[np.bool_], *, rows: int, error: float, level: float
) -> list[float]:
    """Thresholds to test, strict to lenient, made from rows that are not the calibration rows.

    Starts where a test on `rows` calibration rows is likeliest to succeed: stricter ones would accept too few rows to
    prove anything. `level` is the target's confidence.
    """
    if not len(confidence):
        return np.linspace(0.99, 0.0, 100).tolist()
    order = np.argsort(-confidence, kind="stable")
    ordered, wrong = confidence[order], np.cumsum(~right[order])
    ends = np.unique(np.linspace(1, len(ordered), STEPS).astype(int)) - 1
    scale = rows / len(ordered)
    expected = [strength(float(wrong[end]) * scale, (end + 1) * scale, error) for end in ends]
    first = int(np.argmin(expected))
    # of equally sure starts, the strictest leaves the most to be tested
    while first > 0 and expected[first - 1] <= (1 - level) * 1e-3:
        first -= 1
    return [float(ordered[end]) for end in ends[first:]] + [0.0]


def fit_threshold(
    confidence: NDArray[np.floating],
    right: NDArray[np.bool_],
    grid: Sequence[float],
    *,
    error: float,
    level: float,
) -> Threshold | None:
    """The lowest threshold of `grid` that holds `error` at `level`; None when not even the first one does.

    `confidence` and `right` are the calibration rows; `grid` is the order of testing and may not depend on them.
    """
    held: tuple[float, int, int] | None = None
    for value in grid:
        accepted = confidence >= value
        count, wrong = int(accepted.sum()), int((accepted & ~right).sum())
        # the same as `upper_bound(wrong, count, level) > error`, without solving for the bound at every step
        if strength(wrong, count, error) > 1 - level:
            break
        held = float(value), count, wrong
    if held is None:
        return None
    value, count, wrong = held
    return Threshold(value, error, level, count, wrong, len(confidence), upper_bound(wrong, count, level))


def strength(wrong: float, rows: float, error: float) -> float:
    """The p-value a test can be expected to have: the binomial tail at fractional counts of `wrong` among `rows`."""
    return float(fitting("scipy.special").betainc(max(rows - wrong, 1e-9), wrong + 1, 1 - error))
