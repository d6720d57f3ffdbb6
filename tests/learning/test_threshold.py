"""The promise of a threshold: it holds at the rate it names, and is refused where it cannot be made."""

import numpy as np
import pytest

from sluicegate.learning.threshold import candidates, fit_threshold, least_rows, rows_needed, upper_bound


def draw(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Confidences and whether they were right; overconfident, so that a naive threshold would break the promise."""
    confidence = random.uniform(0.3, 1.0, count)
    return confidence, random.uniform(size=count) < confidence**1.3


def true_error(threshold: float) -> float:
    """Error rate of the accepted share of `draw`, by integration."""
    accepted = np.linspace(max(threshold, 0.3), 1.0, 10_001)
    return float(1 - (accepted**1.3).mean())


@pytest.mark.slow
def test_the_bound_holds_at_its_rate() -> None:
    """Over many draws of calibration rows, the promised error is broken at most as often as promised."""
    random = np.random.default_rng(0)
    error, level, draws = 0.15, 0.9, 400
    reference, right = draw(random, 2000)
    grid = candidates(reference, right, rows=500, error=error, level=level)
    broken = found = 0
    for _ in range(draws):
        threshold = fit_threshold(*draw(random, 500), grid, error=error, level=level)
        if threshold is not None:
            found += 1
            broken += true_error(threshold.value) > error
    assert found > 0.8 * draws
    # 10 % may break it: with 400 draws more than 14 % would be a one-in-200 event
    assert 0 < broken / draws <= 0.14


def test_a_naive_threshold_breaks_the_promise() -> None:
    """Taking the lowest threshold that looks right on the same rows is wrong about every second time."""
    random = np.random.default_rng(1)
    broken = 0
    for _ in range(200):
        confidence, right = draw(random, 500)
        order = np.argsort(-confidence)
        rate = np.cumsum(~right[order]) / np.arange(1, 501)
        broken += true_error(confidence[order][np.flatnonzero(rate <= 0.15)[-1]]) > 0.15
    assert broken > 70


@pytest.mark.slow
def test_upper_bound_is_clopper_pearson() -> None:
    # Clopper and Pearson 1934: no failure in 59 gives 5 % at 95 %, the "rule of three" made exact
    assert upper_bound(0, 59, 0.95) == pytest.approx(1 - 0.05 ** (1 / 59))
    assert upper_bound(0, 59, 0.95) <= 0.05 < upper_bound(0, 58, 0.95)
    assert upper_bound(3, 3, 0.95) == 1.0
    assert upper_bound(0, 0, 0.95) == 1.0


def test_least_rows() -> None:
    assert least_rows(0.05, 0.95) == 59
    assert least_rows(0.10, 0.95) == 29


def test_rows_needed_is_the_least_that_suffice() -> None:
    needed = rows_needed(0.02, 0.05, 0.95)
    assert needed is not None
    assert upper_bound(int(np.ceil(0.02 * needed)), needed, 0.95) <= 0.05
    assert rows_needed(0.0, 0.05, 0.95) == 59
    assert rows_needed(0.05, 0.05, 0.95) is None


def test_testing_stops_at_the_first_failure() -> None:
    """A lenient threshold that looks right by luck is not taken when a stricter one has failed."""
    confidence = np.array([0.9] * 100 + [0.7] * 20 + [0.5] * 1000)
    right = np.array([True] * 100 + [False] * 20 + [True] * 1000)
    found = fit_threshold(confidence, right, [0.9, 0.7, 0.5], error=0.05, level=0.95)
    assert found is not None
    assert found.value == 0.9
    assert (found.accepted, found.wrong, found.rows) == (100, 0, 1120)


def test_none_when_nothing_can_be_promised() -> None:
    confidence = np.full(50, 0.9)
    assert fit_threshold(confidence, np.ones(50, bool), [0.5], error=0.05, level=0.95) is None


def test_candidates_run_from_strict_to_lenient_and_end_at_zero() -> None:
    random = np.random.default_rng(2)
    grid = candidates(*draw(random, 1000), rows=500, error=0.1, level=0.95)
    assert grid == sorted(grid, reverse=True)
    assert grid[-1] == 0.0
