"""How much more frequent features are in one class than outside of it."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["log_count_ratio"]

Floats = NDArray[np.floating]


def log_count_ratio(inside: Floats, outside: Floats) -> Floats:
    """The size of the logarithm of each feature's share of the counts inside over that of the counts outside
    (features), from counts above 0 (features): Wang and Manning 2012, "Baselines and Bigrams"."""
    return np.abs(np.log((inside / inside.sum()) / (outside / outside.sum())))
