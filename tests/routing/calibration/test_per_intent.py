"""Thresholds per intent: the whole family holds at its rate, and each label is served its own."""

from pathlib import Path

import numpy as np
import pytest

from sluicegate.errors import ModelError
from sluicegate.learning.threshold import NEVER
from sluicegate.routing.calibration.per_intent import PerIntent, Scored, fit_per_intent
from sluicegate.routing.intent.artifact import Artifact, read_artifact, write_artifact
from sluicegate.routing.intent.fit import FitSettings, fit_intents
from sluicegate.routing.intent.router import FittedRouter
from sluicegate.routing.monitoring.report import report_intents
from tests.support.made_rows import rows

pytestmark = pytest.mark.slow

POWERS = (0.5, 1.0, 1.6, 0.8, 0.8, 1.2)
"""A confidence c of class k is right with probability c ** POWERS[k]: some classes are overconfident, some too shy."""
SHARES = (0.3, 0.25, 0.25, 0.1, 0.07, 0.03)


def draw(random: np.random.Generator, count: int) -> Scored:
    found = random.choice(len(POWERS), size=count, p=SHARES)
    confidence = random.beta(4, 0.7, count)
    return Scored(confidence, found, random.uniform(size=count) < confidence ** np.array(POWERS)[found])


class Truth:
    """Very many rows, counted beforehand: how many a threshold accepts of each class, how many of those are wrong."""

    def __init__(self, scored: Scored) -> None:
        self._ordered = []
        for index in range(len(POWERS)):
            mine = scored.of(scored.found == index)
            order = np.argsort(-mine.confidence)
            self._ordered.append((-mine.confidence[order], np.concatenate([[0], np.cumsum(~mine.right[order])])))

    def counts(self, served: list[float]) -> np.ndarray:
        """(classes, 2): accepted, wrong."""
        found = []
        for value, (falling, wrong) in zip(served, self._ordered, strict=True):
            accepted = int(np.searchsorted(falling, -value, side="right"))
            found.append((accepted, wrong[accepted]))
        return np.array(found)


def broken(family: PerIntent, truth: Truth, error: float) -> bool:
    """Whether the accepted share of any group, or of all together, is wrong more often than promised."""
    counts = truth.counts(family.served(len(POWERS)))
    rest = [index for index in range(len(POWERS)) if index not in family.own]
    groups = [counts[index] for index in family.own] + [counts[rest].sum(axis=0), counts.sum(axis=0)]
    return any(wrong > error * accepted for accepted, wrong in groups)


def test_the_family_holds_at_its_rate() -> None:
    """Over many draws, any promise of the family is broken at most as often as stated; uncorrected, far more often."""
    random = np.random.default_rng(4)
    error, confidence, draws = 0.12, 0.9, 250
    reference, truth = draw(random, 4000), Truth(draw(random, 1_000_000))
    failed = uncorrected = own = 0
    for _ in range(draws):
        proof = draw(random, 1500)
        family = fit_per_intent(reference, proof, len(POWERS), error=error, confidence=confidence)
        own += len(family.own)
        failed += broken(family, truth, error)
        # the same, as if every test might spend the whole doubt
        groups = len(family.own) + bool(family.needed)
        whole = 1 - (1 - confidence) * groups
        loose = fit_per_intent(reference, proof, len(POWERS), error=error, confidence=whole)
        uncorrected += broken(loose, truth, error)
    assert own > 2 * draws
    # 10 % may break it: with 250 draws more than 15 % would be a one-in-200 event
    assert failed / draws <= 0.15
    assert uncorrected > 2 * max(1, failed)


def test_an_intent_with_few_rows_stays_with_the_rest() -> None:
    random = np.random.default_rng(5)
    family = fit_per_intent(draw(random, 4000), draw(random, 1500), len(POWERS), error=0.12, confidence=0.9)
    assert 0 in family.own
    assert 5 in family.needed
    assert family.level == pytest.approx(1 - 0.1 / (len(family.own) + 1))
    served = family.served(len(POWERS))
    assert family.rest is not None
    assert served[5] == family.rest.value
    assert len(set(served)) == len(family.own) + 1


def test_no_rows_at_all_accept_nothing() -> None:
    none = Scored(np.zeros(0), np.zeros(0, int), np.zeros(0, bool))
    family = fit_per_intent(none, none, 3, error=0.1, confidence=0.95)
    assert family.served(3) == [NEVER] * 3
    # ln .05 / ln .9
    assert family.needed == {0: 29, 1: 29, 2: 29}


@pytest.fixture
async def divided(tmp_path: Path) -> Artifact:
    """A router with thresholds per intent, out of scope among them."""
    settings = FitSettings(oos_label="oos", error=0.2, per="intent")
    fitted = await fit_intents(rows(240, 0), rows(400, 1), settings, embed=None, embedder=None, work=tmp_path / "work")
    write_artifact(tmp_path / "divided", fitted.head, fitted.calibrator, fitted.card)
    return read_artifact(tmp_path / "divided")


async def test_each_label_is_served_its_own(divided: Artifact) -> None:
    router = FittedRouter(divided)
    family = divided.card["threshold"]["per_intent"]
    assert family["own"]
    for text in ("printer is jammed", "vpn drops every hour", "reset my password"):
        found = await router.classify(text)
        assert found.threshold == router.threshold_of(found.label)
        assert router.has_own(found.label) == (found.label in family["own"])
        if found.label in family["own"]:
            assert found.threshold == family["own"][found.label]["value"]
    together = FittedRouter(divided, per="all")
    assert {(await together.classify(text)).threshold for text in ("printer", "vpn")} == {
        divided.card["threshold"]["value"]
    }
    by_hand = FittedRouter(divided, threshold=0.3)
    assert (await by_hand.classify("printer is jammed")).threshold == 0.3


async def test_the_report_shows_every_threshold(divided: Artifact) -> None:
    router = FittedRouter(divided)
    found = await report_intents(router, rows(200, 2))
    assert found["target"]["per"] == "intent"
    by_label = {row["label"]: row for row in found["thresholds"]}
    assert by_label.keys() == set(router.labels)
    for label, row in by_label.items():
        assert row["threshold"] == router.threshold_of(label)
        assert row["own"] == router.has_own(label)
        assert row["bound"] >= 1 - (row["accepted_accuracy"] or 0)
    taken = sum(row["given"] * row["coverage"] for row in by_label.values())
    assert found["coverage"] == pytest.approx(taken / 200)


async def test_a_router_of_before_has_none(divided: Artifact) -> None:
    card = {**divided.card, "threshold": {"value": 0.5, "proved": True}}
    with pytest.raises(ModelError, match="SG313 this router has no thresholds per intent"):
        FittedRouter(Artifact(divided.head, divided.calibrator, card), per="intent")
    assert FittedRouter(Artifact(divided.head, divided.calibrator, card), per="all").threshold == 0.5
