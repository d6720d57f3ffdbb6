"""Confidence sequences: validity under peeking, power, duality, speed. Draws are seeded."""

import re

import numpy as np
import pytest
from numpy.typing import NDArray

from sluicegate.evals.promotion.sequences import (
    difference_bounds,
    difference_sequence,
    lower_bound,
)
from tests.support import ROOT
from tests.support.peeking import capital_path, rejects_at, z_test_passes

ERROR, MARGIN = 0.05, 0.05
RUNS = 400


def draws(seed: int, size: int, worse: float, better: float) -> NDArray[np.float64]:
    """Differences of two zero-one metrics: -1 with chance `worse`, 1 with chance `better`."""
    return np.random.default_rng(seed).choice([-1.0, 0.0, 1.0], size, p=[worse, 1 - worse - better, better])


# (chance that the challenger loses a pair, chance that it wins it): worse by exactly the margin
@pytest.mark.slow
@pytest.mark.parametrize(("worse", "better"), [(0.125, 0.075), (0.05, 0.0), (0.3, 0.25)])
def test_false_promotion_under_peeking_at_every_pair(worse: float, better: float) -> None:
    passed = sum(rejects_at(draws(seed, 2000, worse, better), -MARGIN, ERROR) is not None for seed in range(RUNS))
    # 400 runs of a 5 % event give more than 29 with chance 2 %
    assert passed <= 29


@pytest.mark.slow
def test_a_z_test_with_peeking_is_far_worse() -> None:
    rows = [draws(seed, 2000, 0.125, 0.075) for seed in range(RUNS)]
    z = sum(z_test_passes(row, -MARGIN) for row in rows)
    ours = sum(rejects_at(row, -MARGIN, ERROR) is not None for row in rows)
    assert z > 0.15 * RUNS
    assert z > 4 * max(ours, 1)


def test_power_when_equal() -> None:
    passed = sum(rejects_at(draws(seed, 1000, 0.05, 0.05), -MARGIN, ERROR) is not None for seed in range(200))
    assert passed >= 0.9 * 200


@pytest.mark.slow
def test_covers_the_mean_at_every_size() -> None:
    rng = np.random.default_rng(3)
    missed = 0
    for _ in range(80):
        values = rng.beta(2, 5, 400) - rng.beta(2, 5, 400)
        sizes = difference_sequence(values, ERROR, steps=10)
        missed += any(not bounds.low <= 0 <= bounds.high for bounds in sizes)
    # each side fails with 5 %, so the pair of bounds with 10 %
    assert missed <= 15


def test_bound_and_test_agree() -> None:
    values = draws(1, 1500, 0.06, 0.1)
    low = difference_bounds(values, ERROR).low
    goal = np.log(1 / ERROR)
    unit = (values + 1) / 2
    assert capital_path(unit, (low - 0.002 + 1) / 2)[-1] > goal
    assert capital_path(unit, (low + 0.002 + 1) / 2)[-1] < goal


def test_order_of_the_pairs_does_not_matter() -> None:
    values = draws(2, 500, 0.1, 0.2)
    assert difference_bounds(values, ERROR) == difference_bounds(values[::-1], ERROR)


@pytest.mark.parametrize(
    ("values", "low"),
    [(np.zeros(100), 0.0), (np.ones(100), 0.9), (np.full(2000, 0.5), 0.47)],
    ids=["zeros", "ones", "constant"],
)
def test_edges(values: NDArray[np.float64], low: float) -> None:
    found = lower_bound(values, ERROR)
    assert low <= found <= values.mean()


def test_nothing_seen_rules_nothing_out() -> None:
    found = difference_bounds(np.array([]), ERROR)
    assert (found.low, found.high, found.n) == (-1.0, 1.0, 0)


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="cap"):
        difference_bounds(np.array([0.0, 1.2]), ERROR)


# --- what docs/measured.md claims ---

PAGE = (ROOT / "docs" / "measured.md").read_text(encoding="utf-8")
CLAIMED_POWER = {
    int(cells[0]) / 100: [int(cell) / 100 for cell in cells[1:6]]
    for line in PAGE.splitlines()
    if len(cells := re.findall(r"\| (?:equal )?(\d+)(?: %)?(?: of pairs differ)?(?= \|)", line.replace(",", ""))) == 7
}
SIZES = (250, 500, 1000, 2000, 5000)


def test_the_page_has_its_table() -> None:
    assert set(CLAIMED_POWER) == {0.04, 0.1, 0.2, 0.5}
    assert CLAIMED_POWER[0.1][0] == 0.32


@pytest.mark.slow
@pytest.mark.parametrize("differ", list(CLAIMED_POWER))
def test_the_power_that_the_page_claims(differ: float) -> None:
    """Other draws than those of the benchmark that the table is from."""
    runs = 1000
    sizes = [
        rejects_at(draws(90_000 + seed, SIZES[-1], differ / 2, differ / 2), -MARGIN, ERROR) or SIZES[-1] + 1
        for seed in range(runs)
    ]
    for size, claimed in zip(SIZES, CLAIMED_POWER[differ], strict=True):
        found = sum(one <= size for one in sizes) / runs
        # three deviations of the difference of two samples, and half of what the page rounds to
        deviation = (max(claimed * (1 - claimed), 0.01) * 2 / runs) ** 0.5
        assert abs(found - claimed) < 3 * deviation + 0.005, (size, found, claimed)
