"""Two tests of a mean difference that look after every pair: ours, and the z-test that such looks make invalid."""

import numpy as np
from numpy.typing import NDArray

from sluicegate.evals.promotion.sequences import SHARES


def capital_path(values: NDArray[np.float64], m: float) -> NDArray[np.float64]:
    """Logarithm of the capital after each of `values`, betting that their mean is above `m`."""
    gains = values / m - 1
    logs = np.array([np.cumsum(np.log1p(share * gains)) for share in SHARES])
    return np.logaddexp.reduce(logs) - np.log(len(SHARES))


def rejects_at(differences: NDArray[np.float64], mean: float, error: float) -> int | None:
    """The first size at which "the mean difference is at most `mean`" was rejected, or None."""
    reached = np.flatnonzero(capital_path((differences + 1) / 2, (mean + 1) / 2) >= np.log(1 / error))
    return int(reached[0]) + 1 if len(reached) else None


def z_test_passes(differences: NDArray[np.float64], least: float, first: int = 30) -> bool:
    """A one-sided z-test at 5 %, looked at after every pair from `first` on."""
    n = np.arange(1, len(differences) + 1)
    mean = np.cumsum(differences) / n
    deviation = np.sqrt(np.maximum(np.cumsum(differences**2) / n - mean**2, 1e-12))
    z = (mean - least) / (deviation / np.sqrt(n))
    return bool((z[first:] > 1.645).any())
