"""Choice of the calibration method by cross-validation: temperature, unless another is clearly better.

Each method is fitted on four fifths of the rows and scored on the other fifth by the logarithmic loss of "the winning
label is right", a proper score (Gneiting and Raftery 2007, "Strictly Proper Scoring Rules") that rewards both a label
that is right and a confidence that says how often. Clearly better: the mean gain over temperature, row by row, is
larger than its standard error (the one-standard-error rule, Breiman et al. 1984, "Classification and Regression
Trees", section 3.4.3). A method with more numbers to fit must earn them.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sluicegate.routing.calibration.calibration import Calibrator, Method, fit_calibrator

__all__ = ["choose_calibrator"]

FOLDS = 5
LEAST = 100
"""Rows below which nothing but temperature is tried."""
Floats = NDArray[np.floating]


def choose_calibrator(logits: Floats, target: NDArray[np.integer], methods: Sequence[Method]) -> Calibrator:
    """Fit the method that is best on held-out rows of `logits` (rows, classes), `target` (rows) class indices."""
    if len(target) < LEAST:
        return fit_calibrator(logits, target, "temperature")
    fold = np.random.default_rng(2).permutation(len(target)) % FOLDS
    usual = _losses(logits, target, fold, "temperature")
    best, most = "temperature", 0.0
    tried: list[Method] = [method for method in methods if method != "temperature"]
    for method in tried:
        gain = usual - _losses(logits, target, fold, method)
        mean, doubt = float(gain.mean()), float(gain.std(ddof=1)) / len(gain) ** 0.5
        if mean > max(doubt, most):
            best, most = method, mean
    return fit_calibrator(logits, target, best)


def _losses(logits: Floats, target: NDArray[np.integer], fold: NDArray[np.integer], method: Method) -> Floats:
    """Held-out loss of every row, in nats."""
    losses = np.zeros(len(target))
    for number in range(FOLDS):
        inside = fold == number
        probabilities = fit_calibrator(logits[~inside], target[~inside], method)(logits[inside])
        right = probabilities.argmax(axis=1) == target[inside]
        sure = np.clip(probabilities.max(axis=1), 1e-6, 1 - 1e-6)
        losses[inside] = -np.where(right, np.log(sure), np.log1p(-sure))
    return losses
