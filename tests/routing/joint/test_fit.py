"""Thresholds chosen together: what passes holds, and without enough rows nothing does."""

from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sluicegate.errors import InsufficientDataError
from sluicegate.routing.joint.fit import ORDER, Outcomes, choose, rows_wanted

Floats = NDArray[Any]
STEPS = np.append(np.linspace(0, 1, 15), 2.0)
ERROR, CONFIDENCE = 0.25, 0.95


def drawn(rows: int, rng: np.random.Generator) -> Floats:
    """Requests: confidence in the route and in the answer, and whether the small and the large model are right."""
    easy, clear = rng.random(rows), rng.random(rows)
    route, answer = 0.7 * easy + 0.3 * rng.random(rows), 0.4 * easy + 0.6 * clear
    return np.array([route, answer, rng.random(rows) < answer**0.5, rng.random(rows) < 0.7 + 0.25 * easy])


def outcomes(requests: Floats) -> Outcomes:
    """Below the first threshold the large model answers, below the second a person is asked."""
    route, answer, small, large = requests
    first, second = (grid.ravel()[:, None] for grid in np.meshgrid(STEPS, STEPS))
    escalated = route < first
    sent = escalated | (answer >= second)
    wrong = np.array(sent & ~np.where(escalated, large, small).astype(bool), bool)
    return Outcomes(sent, wrong, sent & ~escalated)


def parts(rows: int, rng: np.random.Generator) -> tuple[Outcomes, Outcomes]:
    return outcomes(drawn(rows // ORDER, rng)), outcomes(drawn(rows - rows // ORDER, rng))


@pytest.mark.slow
def test_what_was_promised_is_broken_no_more_often_than_said() -> None:
    """A quarter of the 400 redraws of `benchmarks/joint.py`."""
    from scipy import stats

    rng, redraws = np.random.default_rng(7), 100
    everything = outcomes(drawn(20_000, rng))
    risk = everything.wrong.sum(axis=1) / np.maximum(everything.sent.sum(axis=1), 1)
    broken = naive = served = 0
    for _ in range(redraws):
        order, proof = parts(600, rng)
        with suppress(InsufficientDataError):
            broken += risk[choose(order, proof, error=ERROR, confidence=CONFIDENCE).candidate] > ERROR
            served += 1
        # the most that looks right on the same rows
        looks = np.where(proof.wrong.sum(axis=1) <= ERROR * proof.sent.sum(axis=1), proof.kept.sum(axis=1), -1)
        naive += risk[looks.argmax()] > ERROR
    allowed = stats.binom.ppf(0.999, redraws, 1 - CONFIDENCE)
    assert broken <= allowed < naive
    assert served >= redraws * 0.8


def test_of_all_that_pass_the_one_that_keeps_the_most_serves() -> None:
    order, proof = parts(3000, np.random.default_rng(1))
    chosen = choose(order, proof, error=ERROR, confidence=CONFIDENCE)
    p = proof.p(ERROR)
    assert p[chosen.candidate] <= 1 - CONFIDENCE
    passed = [each for each in chosen.tested if p[each] <= 1 - CONFIDENCE]
    kept = order.kept.sum(axis=1) + proof.kept.sum(axis=1)
    assert kept[chosen.candidate] == max(kept[passed])
    # every candidate before the last one tested has passed: the sequence ends at the first that does not
    assert passed == chosen.tested[: len(passed)]
    assert len(chosen.tested) <= len(passed) + 1


def test_the_order_does_not_look_at_the_rows_that_prove() -> None:
    order, proof = parts(3000, np.random.default_rng(1))
    other = Outcomes(proof.sent, proof.sent, proof.kept)
    first = choose(order, proof, error=ERROR, confidence=CONFIDENCE).tested[0]
    with pytest.raises(InsufficientDataError, match=f"send {proof.sent[first].sum()} of 2000 graded requests"):
        choose(order, other, error=ERROR, confidence=CONFIDENCE)


def test_too_few_rows_are_refused_with_how_many_which_bound_needs() -> None:
    order, proof = parts(60, np.random.default_rng(3))
    with pytest.raises(InsufficientDataError, match="SG313") as refused:
        choose(order, proof, error=0.05, confidence=CONFIDENCE)
    hint = refused.value.hint or ""
    stated = {bound: int(rows.replace(",", "")) for bound, rows in _stated(hint)}
    assert {"20%", "30%"} <= stated.keys()
    assert stated["30%"] < stated["20%"]


@pytest.mark.slow
def test_the_rows_that_a_refusal_names_are_about_enough() -> None:
    rng = np.random.default_rng(4)
    needed = rows_wanted(outcomes(drawn(5_000, rng)), ERROR, CONFIDENCE)
    assert needed is not None

    def passes(rows: int) -> int:
        count = 0
        for _ in range(10):
            with suppress(InsufficientDataError):
                choose(*parts(rows, rng), error=ERROR, confidence=CONFIDENCE)
                count += 1
        return count

    assert passes(needed // 4) < 5 < passes(needed * 4)


def test_no_rows_at_all_are_refused() -> None:
    nothing = Outcomes(*(np.zeros((4, 0), bool) for _ in range(3)))
    with pytest.raises(InsufficientDataError, match="0 graded requests"):
        choose(nothing, nothing, error=ERROR, confidence=CONFIDENCE)


def test_thresholds_that_are_always_wrong_need_no_number_of_rows() -> None:
    wrong = Outcomes(*(np.ones((4, 90), bool) for _ in range(3)))
    with pytest.raises(InsufficientDataError) as refused:
        choose(wrong, wrong, error=ERROR, confidence=CONFIDENCE)
    assert (refused.value.hint or "").startswith("No number of requests suffices")


def _stated(hint: str) -> list[tuple[str, str]]:
    listed = hint.partition(": ")[2].partition(". ")[0]
    return [
        (bound, rows.removeprefix("about ")) for bound, _, rows in (one.partition(": ") for one in listed.split("; "))
    ]
