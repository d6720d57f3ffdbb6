"""Similarities to landmarks, which make a linear head over embeddings nonlinear.

Landmarks are embeddings of training rows. A text is described by ``exp(-gamma * distance ** 2)`` to each of them, and
regressed on these features. Where every row can be a landmark this is kernel ridge regression, whose scores of a row by
the regression without it are known in closed form (Rifkin and Lippert 2007, "Notes on Regularized Least Squares",
section 4). With fewer landmarks it is the subset-of-regressors approximation (Rasmussen and Williams 2006, section
8.3.1), cross-fitted by folds: the normal equations of all rows less those of the fold that is left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sluicegate.extras import fitting

__all__ = ["RidgeFit", "fit_kernel", "fit_ridge", "landmarks_of", "product", "similarities"]

Floats = NDArray[np.float32]

JITTER = 1e-5
"""Share of the mean diagonal that is added to it: keeps the normal equations solvable when landmarks are close."""
CHUNK = 4096


@dataclass(frozen=True, slots=True)
class RidgeFit:
    """One ridge regression: `weights` (landmarks, outputs) and `bias` (outputs), fitted on all rows."""

    weights: Floats
    bias: Floats
    held_out: Floats
    """Scores of the rows by regressions that did not see them: (rows, outputs)."""
    penalty: float


def landmarks_of(embeddings: Floats, target: NDArray[np.integer], most: int) -> Floats:
    """At most `most` rows, dealt from the classes in turn so that each class has its landmarks."""
    order = np.random.default_rng(2).permutation(len(target))
    seen = np.zeros(int(target.max()) + 1, np.int64)
    rank = np.zeros(len(target), np.int64)
    for row in order:
        rank[row] = seen[target[row]]
        seen[target[row]] += 1
    # half by turns, so that rare classes are there, half as the rows fall, so that frequent ones are well covered
    by_turns = np.argsort(rank, kind="stable")[: most // 2]
    rest = np.setdiff1d(order, by_turns, assume_unique=True)
    rest = order[np.isin(order, rest)][: most - len(by_turns)]
    chosen = np.sort(np.concatenate([by_turns, rest]))
    # as they will be stored, so that training sees what inference sees
    return embeddings[chosen].astype(np.float16).astype(np.float32)


def product(rows: Floats, matrix: Floats) -> Floats:
    """``rows @ matrix``. A single row is multiplied without BLAS, whose threads wake for it and then spin: on two busy
    cores that takes twenty times the processor time of the product."""
    if rows.ndim == 1 or len(rows) == 1:
        return np.einsum("...i,ij->...j", rows, matrix)
    return rows @ matrix


def similarities(cosines: Floats, sharpness: float) -> Floats:
    """Gaussian similarities of unit-length vectors from their cosines: distance² = 2 - 2 cosine."""
    return np.exp(2 * sharpness * (cosines - 1))


def fit_kernel(
    embeddings: Floats,
    goal: Floats,
    *,
    sharpness: float,
    penalties: Sequence[float],
    better: Callable[[Floats, Floats], float],
) -> RidgeFit:
    """Regress `goal` (rows, outputs) on similarities to all rows, with the penalty that is best on rows left out.

    The bias, the mean of `goal`, is not left out with the row: that moves a score by about one in `rows`.
    """
    bias = goal.mean(axis=0)
    kernel = embeddings @ embeddings.T
    for start in range(0, len(kernel), CHUNK):
        kernel[start : start + CHUNK] = similarities(kernel[start : start + CHUNK], sharpness)
    best: RidgeFit | None = None
    worth = -np.inf
    for penalty in penalties:
        weights, spread = _inverted(kernel, goal - bias, penalty)
        held_out = (goal - weights / spread[:, None]).astype(np.float32)
        if (found := better(held_out, goal)) > worth:
            worth, best = found, RidgeFit(weights, bias, held_out, penalty)
    assert best is not None
    return best


def _inverted(kernel: Floats, goal: Floats, penalty: float) -> tuple[Floats, Floats]:
    """``(K + penalty I)^-1 goal`` and the diagonal of that inverse."""
    linalg = fitting("scipy.linalg")
    system = kernel.copy()
    system[np.diag_indices_from(system)] += np.float32(penalty)
    factor = linalg.cholesky(system, lower=True, overwrite_a=True, check_finite=False)
    weights = linalg.cho_solve((factor, True), goal, check_finite=False)
    inverse, _ = linalg.lapack.spotri(factor, lower=1, overwrite_c=True)
    return np.asarray(weights, np.float32), np.asarray(inverse.diagonal(), np.float32)


def fit_ridge(
    embeddings: Floats,
    landmarks: Floats,
    goal: Floats,
    fold: NDArray[np.integer],
    *,
    sharpness: float,
    penalties: Sequence[float],
    better: Callable[[Floats, Floats], float],
) -> RidgeFit:
    """Regress `goal` (rows, outputs) on similarities, with the penalty whose held-out scores are best.

    `better` gives the worth of scores, from scores and goal; the highest is taken.
    """
    outputs = goal.shape[1]
    bias = goal.mean(axis=0)
    count = int(fold.max()) + 1
    size = len(landmarks)
    grams = np.zeros((count, size, size), np.float32)
    moments = np.zeros((count, size, outputs), np.float32)
    for number in range(count):
        rows = np.flatnonzero(fold == number)
        for start in range(0, len(rows), CHUNK):
            some = rows[start : start + CHUNK]
            seen = similarities(embeddings[some] @ landmarks.T, sharpness)
            grams[number] += seen.T @ seen
            moments[number] += seen.T @ (goal[some] - bias)
    prior = similarities(landmarks @ landmarks.T, sharpness)
    whole, moment = grams.sum(axis=0), moments.sum(axis=0)
    best: tuple[float, float] = (-np.inf, penalties[0])
    kept = np.zeros_like(goal)
    solutions = {
        penalty: [_solved(whole - grams[n], moment - moments[n], prior, penalty) for n in range(count)]
        for penalty in penalties
    }
    for penalty, solved in solutions.items():
        scores = np.empty_like(goal)
        for number in range(count):
            rows = np.flatnonzero(fold == number)
            for start in range(0, len(rows), CHUNK):
                some = rows[start : start + CHUNK]
                scores[some] = similarities(embeddings[some] @ landmarks.T, sharpness) @ solved[number] + bias
        worth = better(scores, goal)
        if worth > best[0]:
            best, kept = (worth, penalty), scores
    weights = _solved(whole, moment, prior, best[1])
    return RidgeFit(weights, bias, kept, best[1])


def _solved(gram: Floats, moment: Floats, prior: Floats, penalty: float) -> Floats:
    """Weights of least squared error plus `penalty` times their norm in the kernel's space."""
    linalg = fitting("scipy.linalg")
    jitter = JITTER * float(gram.diagonal().mean())
    while True:
        system = gram.astype(np.float64) + penalty * prior
        system[np.diag_indices_from(system)] += jitter
        try:
            factor = linalg.cho_factor(system, lower=True, overwrite_a=True, check_finite=False)
        except linalg.LinAlgError:  # landmarks too close to each other for the rounding of the sums
            jitter *= 10
            continue
        return np.asarray(linalg.cho_solve(factor, moment.astype(np.float64), check_finite=False), np.float32)
