"""Features from similar questions: how answers to them were graded, and whether a document had the answer.

A kernel mean of graded questions (Nadaraya 1964; Watson 1964) by the cosine of their embeddings. A question that no
document answers looks, to the similarities of an answer, much like one whose answer is said in other words; that
questions around it had no answer either tells the two apart.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sluicegate.learning.similarity import product

__all__ = ["ALIKE", "NeighbourFeatures"]

Floats = NDArray[np.floating]

ALIKE = ("alike_right", "alike_known")
"""The names of the two means, in [0, 1]."""
SHARPNESS = 8.0
"""A question's weight is exp(8 (cosine - 1)): a tenth at a cosine of 0.71. Of 6, 8, 10 and 14, on the training rows of
the helpdesk by ten-fold cross-validation, 8 told best."""
PRIOR = 0.1
"""Weight of the mean of all, which a question that is like none gets."""


@dataclass(frozen=True, slots=True)
class NeighbourFeatures:
    """Graded questions; rows of all three belong together."""

    vectors: Floats
    """(questions, size), of unit length."""
    right: Floats
    """(questions,): 1 or 0."""
    known: Floats
    """(questions,): 1 where a document says it, 0 where none does, NaN where nobody said."""

    def __call__(self, vectors: Floats, *, own: bool = False) -> Floats:
        """(rows, 2), in the order of `ALIKE`, for `vectors` (rows, size). `own`: they are these questions themselves,
        and each is to be judged by the others."""
        weights = np.exp(SHARPNESS * (product(vectors, self.vectors.T) - 1))
        if own:
            np.fill_diagonal(weights, 0.0)
        return np.stack([_means(weights, self.right), _means(weights, self.known)], axis=1)


def _means(weights: Floats, told: Floats) -> Floats:
    """The weighted mean of what is told, for each row of weights; 0.5 where nothing is."""
    said = ~np.isnan(told)
    if not said.any():
        return np.full(len(weights), 0.5)
    near = weights[:, said]
    return (near @ told[said] + PRIOR * told[said].mean()) / (near.sum(axis=1) + PRIOR)
