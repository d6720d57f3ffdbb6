"""All thresholds of a workflow chosen together, so that what goes out unasked is wrong at most so often.

A candidate is one value for each threshold. Its risk is the share of wrong ones among the requests that end without a
person (sent). Rows are independent draws of the requests to come, so given how many of them a candidate sends, the
number of wrong ones is binomial with that risk: the exact tail is a valid p-value for "the risk is above `error`",
though risk is a ratio and the number sent is random.

Candidates are tested one after the other, each at the full level, until one is not rejected (fixed-sequence testing;
Angelopoulos et al. 2021, "Learn then Test", arXiv 2110.01052, section 2; Bretz et al. 2009, "A graphical approach to
sequentially rejective multiple test procedures"). Their order is made of other rows, those of a Pareto front from the
safest to the one that keeps the most from the large model and from people (Laufer-Goldshtein et al. 2023, "Efficiently
Controlling Multiple Risks with Pareto Testing", arXiv 2210.07913). So with probability `confidence` over the draw of
the proof rows no candidate that passed has a higher risk than `error`, whichever of them is chosen.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sluicegate.errors import InsufficientDataError
from sluicegate.extras import fitting
from sluicegate.learning.threshold import strength, upper_bound

__all__ = ["ORDER", "Chosen", "Outcomes", "choose", "evidence", "rows_wanted"]

Bools = NDArray[np.bool_]

ORDER = 3
"""One in so many rows orders the candidates, the others prove."""

LEAST_SENT = 10
"""Rows that a candidate must send for its rate of wrong ones to say how many rows a proof needs."""
SIZES = np.unique(np.geomspace(5, 1e6, 300).astype(int))
"""Numbers of requests sent that are tried, each at most 5 % above the one before."""
STATED = (0.02, 0.05, 0.1, 0.2, 0.3)
"""Bounds for which a refusal names the rows needed."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What each candidate makes of each row; arrays of (candidates, rows)."""

    sent: Bools
    """It ends without a person."""
    wrong: Bools
    """It is sent, and not right."""
    kept: Bools
    """It is answered without a person and without the large model: what is to be as much as possible."""

    @property
    def rows(self) -> int:
        return self.sent.shape[1]

    def of(self, rows: NDArray[np.integer]) -> "Outcomes":
        return Outcomes(self.sent[:, rows], self.wrong[:, rows], self.kept[:, rows])

    def p(self, error: float) -> NDArray[np.floating]:
        """Each candidate's p-value for a risk above `error`."""
        return _tails(self.wrong.sum(axis=1), self.sent.sum(axis=1), error)

    def expected_p(self, error: float, rows: int) -> NDArray[np.floating]:
        """That to expect on so many other rows, were one row more wrong: of many, the luckiest looks best."""
        scale = rows / self.rows
        return _tails((self.wrong.sum(axis=1) + 1) * scale, (self.sent.sum(axis=1) + 1) * scale, error)


@dataclass(frozen=True, slots=True)
class Chosen:
    """By their numbers, the candidate that serves, and those that were tested, in order."""

    candidate: int
    tested: list[int]


def choose(order: Outcomes, proof: Outcomes, *, error: float, confidence: float) -> Chosen:
    """The candidate that keeps the most of all that pass. `order` and `proof` are of the same candidates on different
    rows. Raises `ModelError` SG313 when none passes, with the rows that bounds need."""
    if not order.rows or not proof.rows:
        raise _refused(f"{order.rows + proof.rows} graded requests", order, proof, error, confidence)
    values, tested, passed = proof.p(error), list[int](), list[int]()
    for candidate in _front(order.expected_p(error, proof.rows), order.kept.sum(axis=1)):
        tested.append(candidate)
        if values[candidate] > 1 - confidence:
            break
        passed.append(candidate)
    if not passed:
        first = tested[0]
        sent, wrong = int(proof.sent[first].sum()), int(proof.wrong[first].sum())
        what = f"the most careful thresholds send {sent} of {proof.rows} graded requests, and {wrong} are wrong"
        raise _refused(what, order, proof, error, confidence)
    kept = order.kept.sum(axis=1) + proof.kept.sum(axis=1)
    best = max(passed, key=lambda candidate: kept[candidate])
    return Chosen(best, tested)


def _front(p: NDArray[np.floating], kept: NDArray[np.integer]) -> list[int]:
    """The candidates that no other outdoes in both, safest first."""
    front: list[int] = []
    for candidate in np.lexsort((-kept, p)).tolist():
        if not front or kept[candidate] > kept[front[-1]]:
            front.append(candidate)
    return front


def rows_wanted(outcomes: Outcomes, error: float, confidence: float) -> int | None:
    """Graded requests with which a candidate passes that is wrong as often as seen; None when no number suffices."""
    counts = np.stack([outcomes.wrong.sum(axis=1), outcomes.sent.sum(axis=1)], axis=1)
    wrong, sent = np.unique(counts[counts[:, 1] >= LEAST_SENT], axis=0).T[:, :, None]
    tails = _tails(np.ceil(wrong / sent * SIZES), SIZES + 0 * sent, error) if len(sent) else np.ones((1, len(SIZES)))
    row, size = np.nonzero(tails <= 1 - confidence)
    if not len(row):
        return None
    return math.ceil((SIZES[size] / sent[row, 0]).min() * outcomes.rows * ORDER / (ORDER - 1))


def _tails(wrong: NDArray[Any], sent: NDArray[Any], error: float) -> NDArray[np.floating]:
    """The binomial tails, `learning.threshold.strength` for arrays; 1 where nothing is sent."""
    tails: NDArray[np.floating] = fitting("scipy.special").betainc(np.maximum(sent - wrong, 1e-9), wrong + 1, 1 - error)
    return np.where(sent > 0, tails, 1.0)


def _refused(what: str, order: Outcomes, proof: Outcomes, error: float, confidence: float) -> InsufficientDataError:
    both = Outcomes(
        *(np.hstack([getattr(part, name) for part in (order, proof)]) for name in ("sent", "wrong", "kept"))
    )
    stated = {bound: rows_wanted(both, bound, confidence) for bound in sorted({error, *STATED})}
    reached = [f"{bound:.0%}: about {rows:,}" for bound, rows in stated.items() if rows is not None]
    hint = (
        f"Graded requests needed by bound: {'; '.join(reached)}. Set `router.joint.error`, or label more requests"
        if reached
        else "No number of requests suffices for any bound up to 30%: improve the answers, or label more to see it"
    )
    return InsufficientDataError(f"no thresholds together reach the {error:.0%} error target: {what}", hint=hint)


def evidence(outcomes: Outcomes, candidate: int, error: float, confidence: float) -> dict[str, Any]:
    """What one candidate makes of the rows, as a card has it."""
    sent, wrong = int(outcomes.sent[candidate].sum()), int(outcomes.wrong[candidate].sum())
    return {
        "sent": sent,
        "wrong": wrong,
        "kept": int(outcomes.kept[candidate].sum()),
        "p": strength(wrong, sent, error) if sent else 1.0,
        "bound": upper_bound(wrong, sent, confidence),
    }
