"""Thresholds of single intents, proved together with one for the rest.

The requests are parted by the label that the router gives them: each intent whose calibration rows suffice is a group
of its own, all other intents are one more, the rest. Every group has a threshold, tested as in `threshold`, each at the
level ``1 - (1 - confidence) / groups`` (Bonferroni: family-wise error control over several hypotheses, Learn-then-Test,
Angelopoulos et al. 2021, section 2). So with probability `confidence` over the draw of the calibration rows, the
accepted share of *every* group is wrong at most `error` of the time, all groups at once; what is accepted in all is a
mixture of the groups, and so it is wrong at most `error` of the time too.

Which intents are groups is settled before anybody asks whether a calibration row is right: by the number of calibration
rows that were given the label, and by the training rows' held-out scores, which say how the test is likely to come out.
Given the labels that the router gave, the rows of a group are independent draws from it, so each test stays exact. A
group whose test fails all the same accepts nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sluicegate.learning.threshold import (
    NEVER,
    Threshold,
    candidates,
    described,
    fit_threshold,
    least_rows,
    rows_needed,
    strength,
)

__all__ = ["PerIntent", "Scored", "accepts", "family_described", "fit_per_intent"]

LIKELY = 0.1
"""A group is tested when the held-out scores expect a p-value of at most this share of the level it must reach."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Rows with what a router made of them."""

    confidence: NDArray[np.floating]
    found: NDArray[np.integer]
    """Class indices of the labels that the router gave."""
    right: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.found)

    def of(self, inside: NDArray[np.bool_]) -> "Scored":
        return Scored(self.confidence[inside], self.found[inside], self.right[inside])


@dataclass(frozen=True, slots=True)
class PerIntent:
    """One threshold per group; None where the group's calibration rows did not bear it out, and nothing is accepted."""

    own: dict[int, Threshold | None]
    """By class index, of the intents that are groups of their own."""
    rest: Threshold | None
    """Of all other intents together."""
    needed: dict[int, int | None]
    """Calibration rows with this label that an intent of the rest still lacks; None when no number suffices."""
    level: float
    """Confidence of each single test."""

    def served(self, classes: int) -> list[float]:
        """The threshold of every class."""
        found = (self.own.get(index, self.rest) for index in range(classes))
        return [NEVER if each is None else each.value for each in found]


def fit_per_intent(reference: Scored, proof: Scored, classes: int, *, error: float, confidence: float) -> PerIntent:
    """Fit the family. `reference` are training rows scored by heads that did not see them, `proof` the calibration rows
    that prove; `classes` the number of labels."""
    counts = np.bincount(proof.found, minlength=classes)
    able = int((counts >= least_rows(error, confidence)).sum())
    # strict enough for every intent that might become a group, and the rest
    strict = 1 - (1 - confidence) / (able + 1)
    needed: dict[int, int | None] = {}
    for index in range(classes):
        lacking = _lacking(reference.of(reference.found == index), int(counts[index]), error, strict)
        if lacking != 0:
            needed[index] = lacking
    own = [index for index in range(classes) if index not in needed]
    left = ~np.isin(proof.found, own)
    level = 1 - (1 - confidence) / (len(own) + bool(needed))
    fitted = {
        index: _tested(reference.of(reference.found == index), proof.of(proof.found == index), error, level)
        for index in own
    }
    rest = _tested(reference.of(~np.isin(reference.found, own)), proof.of(left), error, level) if needed else None
    return PerIntent(fitted, rest, needed, level)


def _tested(reference: Scored, proof: Scored, error: float, level: float) -> Threshold | None:
    grid = candidates(reference.confidence, reference.right, rows=len(proof), error=error, level=level)
    return fit_threshold(proof.confidence, proof.right, grid, error=error, level=level)


def _lacking(reference: Scored, rows: int, error: float, level: float) -> int | None:
    """Calibration rows that one intent still needs before it is worth testing alone; 0 when it has them."""
    if not len(reference):
        return max(1, least_rows(error, level) - rows)
    grid = candidates(reference.confidence, reference.right, rows=max(rows, 1), error=error, level=level)
    accepted = reference.confidence >= grid[0]
    share, rate = float(accepted.mean()), float((~reference.right[accepted]).mean())
    if rows and strength(rate * share * rows, share * rows, error) <= LIKELY * (1 - level):
        return 0
    enough = rows_needed(rate, error, 1 - LIKELY * (1 - level))
    return None if enough is None else max(1, round(enough / share) - rows)


def accepts(thresholds: Sequence[float], scored: Scored) -> NDArray[np.bool_]:
    """Which rows reach the threshold of the label they were given; `thresholds` has one per class."""
    return scored.confidence >= np.asarray(thresholds)[scored.found]


def family_described(family: PerIntent, labels: Sequence[str]) -> dict[str, Any]:
    """The family as an artifact's card has it."""
    return {
        "level": family.level,
        "own": {labels[index]: described(found) for index, found in family.own.items()},
        "rest": described(family.rest),
        "needed": {labels[index]: rows for index, rows in family.needed.items()},
    }
