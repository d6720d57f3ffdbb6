"""What a classifier sees of an embedding: less what all rows share, on the axes along which they differ most."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sluicegate.learning.similarity import product

__all__ = ["AXES", "Projection", "fit_projection"]

Floats = NDArray[np.floating]

AXES = 384
"""Principal axes that a longer embedding is put on: on 8,000 rows as good as all 2,304, and a sixth of the memory."""


@dataclass(frozen=True, slots=True)
class Projection:
    """From an embedder's vectors to what the head sees: less the training rows' mean, on their principal axes."""

    mean: NDArray[np.float32]
    """(dimensions)"""
    axes: NDArray[np.float32] | None
    """(dimensions, kept), orthonormal; None keeps every dimension."""

    def __call__(self, embeddings: Floats) -> NDArray[np.float32]:
        """Rows (or one row) of unit length."""
        centred = embeddings.astype(np.float32) - self.mean
        seen = centred if self.axes is None else product(centred, self.axes)
        length = np.sqrt((seen * seen).sum(axis=-1, keepdims=True))
        return (seen / np.maximum(length, np.float32(1e-12))).astype(np.float32)


def fit_projection(embeddings: NDArray[np.float32]) -> Projection:
    """The training rows' mean and, of many rows with many dimensions, the axes along which they differ most.

    Few rows lie on few axes, and other texts would lose too much on them: those keep every dimension.
    """
    mean = embeddings.mean(axis=0)
    rows, dimensions = embeddings.shape
    if dimensions <= AXES or rows < 2 * AXES:
        return Projection(mean, None)
    unit = Projection(mean, None)(embeddings)
    _, axes = np.linalg.eigh(unit.T @ unit)
    # as they will be stored, so that training sees what inference sees
    kept = axes[:, : -AXES - 1 : -1].astype(np.float16).astype(np.float32)
    return Projection(mean, np.ascontiguousarray(kept))
