"""Calibration: confidence that equals the probability of being right.

`temperature` divides the logits by one number fitted by likelihood (Guo et al. 2017, "On Calibration of Modern Neural
Networks"); it never changes which label wins. `vector` gives each label a factor and a shift of its own (ibid., section
4.2, with a diagonal matrix), drawn to temperature by a ridge penalty; it may change the label. `sigmoid` (Platt 1999)
and `isotonic` (Zadrozny and Elkan 2002) map the winning label's confidence alone and leave the order of the others as
it is; `vector-sigmoid` is the one after the other. Without a method named, temperature stays unless another is clearly
better on rows it was not fitted on (see `calibration_choice`).
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sluicegate.extras import fitting

__all__ = [
    "METHODS",
    "Calibrator",
    "Method",
    "ReliabilityBin",
    "ece",
    "fit_calibrator",
    "reliability",
    "smoothed_loss",
    "softmax",
]

Method = Literal["temperature", "vector", "sigmoid", "vector-sigmoid", "isotonic"]
METHODS: tuple[Method, ...] = get_args(Method)
Floats = NDArray[np.floating]

BINS = 15
"""Equal-width bins of the expected calibration error, as Guo et al. use."""


def softmax(logits: Floats) -> Floats:
    """Probabilities along the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def smoothed_loss(logits: Floats, target: NDArray[np.integer]) -> tuple[float, Floats]:
    """Mean negative log-likelihood in nats, and its gradient by the logits.

    Targets are smoothed by one row's worth, ``1 / (rows + 2)``, so that rows without a mistake do not call for
    certainty (Laplace's rule of succession).
    """
    rows, classes = logits.shape
    doubt = 1 / (rows + 2)
    goal = np.full((rows, classes), doubt / classes)
    goal[np.arange(rows), target] += 1 - doubt
    probabilities = softmax(logits)
    value = float(-(goal * np.log(np.maximum(probabilities, 1e-300))).sum() / rows)
    return value, (probabilities - goal) / rows


@dataclass(frozen=True, slots=True)
class Calibrator:
    """What turns logits into calibrated probabilities; plain numbers, so that it can be written down."""

    method: Method = "temperature"
    temperature: float = 1.0
    points: tuple[tuple[float, float], ...] = ()
    """For ``isotonic``: confidence before and after, rising; for the sigmoids: the one pair (slope, intercept)."""
    scales: tuple[tuple[float, float], ...] = ()
    """For the vectors: a pair (factor, shift) per label, which come before the temperature."""

    def __call__(self, logits: Floats) -> Floats:
        """Probabilities along the last axis of `logits`, which has a row per text."""
        # in 32 bits a confidence near 1 is 1, and its logit infinite
        logits = logits.astype(np.float64)
        if self.scales:
            factors, shifts = np.array(self.scales).T
            logits = logits * factors + shifts
        scaled = softmax(logits / self.temperature)
        if not self.points:
            return scaled
        top = scaled.max(axis=-1, keepdims=True)
        moved = self._moved(top)
        # the others share what is left in the proportion they had, and none overtakes the winner: they may sum to less
        rest = np.where(top < 1, (1 - moved) / np.maximum(1 - top, 1e-12), 0)
        spread = np.minimum(scaled * rest, moved * (1 - 1e-9))
        return np.where(scaled == top, moved, spread)

    def _moved(self, top: Floats) -> Floats:
        if self.method != "isotonic":
            slope, intercept = self.points[0]
            return 1 / (1 + np.exp(-(slope * _logit(top) + intercept)))
        before, after = [x for x, _ in self.points], [y for _, y in self.points]
        return np.asarray(np.interp(top, before, after))


def fit_calibrator(logits: Floats, target: NDArray[np.integer], method: Method = "temperature") -> Calibrator:
    """Fit on rows that the logits' model did not see: `logits` (rows, classes), `target` (rows) class indices."""
    optimize = fitting("scipy.optimize")
    logits = logits.astype(np.float64)

    def loss(log_temperature: float) -> float:
        return smoothed_loss(logits / np.exp(log_temperature), target)[0]

    found = optimize.minimize_scalar(loss, bounds=(-4.0, 4.0), method="bounded")
    temperature = float(np.exp(found.x))
    if method == "temperature":
        return Calibrator(method, temperature)
    scales = _vector(logits / temperature, target, temperature) if method.startswith("vector") else ()
    if method == "vector":
        return Calibrator(method, temperature, scales=scales)
    scaled = Calibrator(method, temperature, scales=scales)(logits)
    top, right = scaled.max(axis=1), (scaled.argmax(axis=1) == target).astype(float)
    if method != "isotonic":
        return Calibrator(method, temperature, (_platt(top, right),), scales)
    floor = 1 / (len(top) + 2)
    model = fitting("sklearn.isotonic").IsotonicRegression(y_min=floor, y_max=1 - floor).fit(top, right)
    pairs = zip(model.X_thresholds_.tolist(), model.y_thresholds_.tolist(), strict=True)
    return Calibrator("isotonic", temperature, tuple(pairs))


def _vector(scaled: Floats, target: NDArray[np.integer], temperature: float) -> tuple[tuple[float, float], ...]:
    """A factor and a shift per label, likeliest on these rows under a ridge penalty of one row's worth each."""
    optimize = fitting("scipy.optimize")
    rows, classes = scaled.shape

    def loss(parameters: Floats) -> tuple[float, Floats]:
        factors, shifts = np.exp(parameters[:classes]), parameters[classes:]
        value, slope = smoothed_loss(scaled * factors + shifts, target)
        gradient = np.concatenate([(slope * scaled).sum(axis=0) * factors, slope.sum(axis=0)])
        return value + float((parameters**2).sum()) / rows, gradient + 2 * parameters / rows

    found = optimize.minimize(loss, np.zeros(2 * classes), jac=True, method="L-BFGS-B").x
    pairs = zip(np.exp(found[:classes]).tolist(), (found[classes:] * temperature).tolist(), strict=True)
    return tuple(pairs)


def _platt(top: Floats, right: Floats) -> tuple[float, float]:
    optimize = fitting("scipy.optimize")
    score = _logit(top)
    # Platt's smoothed targets keep the fit finite when everything is right
    hits = float(right.sum())
    goal = np.where(right > 0, (hits + 1) / (hits + 2), 1 / (len(right) - hits + 2))

    def loss(parameters: Floats) -> float:
        z = float(parameters[0]) * score + float(parameters[1])
        return float((np.logaddexp(0, z) - goal * z).mean())

    slope, intercept = optimize.minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead").x
    return float(slope), float(intercept)


def _logit(p: Floats) -> Floats:
    clipped = np.clip(p, 1e-9, 1 - 1e-9)
    return np.log(clipped) - np.log1p(-clipped)


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """One bin of the reliability diagram."""

    low: float
    high: float
    count: int
    confidence: float
    """Mean confidence in the bin."""
    accuracy: float
    """Share that is right."""


def reliability(confidence: Floats, right: NDArray[np.bool_], bins: int = BINS) -> list[ReliabilityBin]:
    """Equal-width bins over [0, 1]; empty ones are left out."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    found: list[ReliabilityBin] = []
    for index in range(bins):
        inside = place == index
        count = int(inside.sum())
        if count:
            mean, share = float(confidence[inside].mean()), float(right[inside].mean())
            found.append(ReliabilityBin(index / bins, (index + 1) / bins, count, mean, share))
    return found


def ece(confidence: Floats, right: NDArray[np.bool_], bins: int = BINS) -> float:
    """Expected calibration error: mean gap between confidence and accuracy over the bins (Guo et al. 2017, eq. 3)."""
    if not len(confidence):
        return 0.0
    return sum(b.count * abs(b.confidence - b.accuracy) for b in reliability(confidence, right, bins)) / len(confidence)
