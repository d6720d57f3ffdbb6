import numpy as np
import pytest

from sluicegate.routing.calibration.calibration import METHODS, Method, ece, fit_calibrator, reliability, softmax
from sluicegate.routing.calibration.choice import choose_calibrator


def logits_of(count: int, seed: int, *, sharpen: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is right by construction, then made overconfident by `sharpen`."""
    random = np.random.default_rng(seed)
    honest = random.normal(0, 1.5, (count, 4))
    chance = softmax(honest)
    target = np.array([random.choice(4, p=row) for row in chance])
    return honest * sharpen, target


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_calibration_mends_overconfidence(method: Method) -> None:
    logits, target = logits_of(3000, 0, sharpen=3.0)
    fresh, fresh_target = logits_of(3000, 1, sharpen=3.0)
    raw = softmax(fresh)
    assert ece(raw.max(axis=1), raw.argmax(axis=1) == fresh_target) > 0.1
    calibrated = fit_calibrator(logits, target, method)(fresh)
    assert ece(calibrated.max(axis=1), calibrated.argmax(axis=1) == fresh_target) < 0.03
    assert calibrated.sum(axis=1).max() <= 1 + 1e-6
    assert calibrated.sum(axis=1).mean() == pytest.approx(1.0, abs=0.01)
    if not method.startswith("vector"):
        assert (calibrated.argmax(axis=1) == raw.argmax(axis=1)).all()


def lopsided(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """As `logits_of`, but each label's logits have a scale and a shift of their own: no one temperature mends that."""
    logits, target = logits_of(count, seed, sharpen=1.0)
    return logits * np.array([0.4, 1.0, 2.5, 1.0]) + np.array([0.0, 1.0, 0.0, -1.0]), target


@pytest.mark.slow
def test_vector_scaling_mends_labels_of_different_scale() -> None:
    logits, target = lopsided(3000, 3)
    fresh, fresh_target = lopsided(6000, 4)
    loss: dict[str, float] = {}
    accuracy: dict[str, float] = {}
    for method in METHODS:
        found = fit_calibrator(logits, target, method)(fresh)
        loss[method] = float(-np.log(found[np.arange(len(fresh)), fresh_target]).mean())
        accuracy[method] = float((found.argmax(axis=1) == fresh_target).mean())
    assert loss["vector"] < loss["temperature"] - 0.02
    assert accuracy["vector"] > accuracy["temperature"] + 0.01
    assert accuracy["vector-sigmoid"] == accuracy["vector"]


@pytest.mark.slow
def test_the_choice_stays_with_temperature_unless_another_is_clearly_better() -> None:
    plain, target = logits_of(1500, 5, sharpen=2.0)
    assert choose_calibrator(plain, target, METHODS).method == "temperature"
    uneven, uneven_target = lopsided(1500, 6)
    assert choose_calibrator(uneven, uneven_target, METHODS).method.startswith("vector")
    assert choose_calibrator(uneven, uneven_target, ("sigmoid",)).method in ("temperature", "sigmoid")
    assert choose_calibrator(uneven[:60], uneven_target[:60], METHODS).method == "temperature"


@pytest.mark.parametrize("method", METHODS)
def test_logits_in_32_bits_are_no_trouble(method: Method) -> None:
    """A confidence that 32 bits cannot tell from 1 has a finite logit all the same."""
    logits, target = logits_of(500, 7, sharpen=40.0)
    found = fit_calibrator(logits.astype(np.float32), target, method)(logits.astype(np.float32))
    assert np.isfinite(found).all()
    assert found.max() <= 1


def test_temperature_is_recovered() -> None:
    logits, target = logits_of(5000, 2, sharpen=2.0)
    assert fit_calibrator(logits, target).temperature == pytest.approx(2.0, rel=0.08)


def test_ece_by_hand() -> None:
    # two bins: ten rows at .95 of which nine are right, ten at .55 of which three are
    confidence = np.array([0.95] * 10 + [0.55] * 10)
    right = np.array([True] * 9 + [False] + [True] * 3 + [False] * 7)
    assert ece(confidence, right) == pytest.approx((0.05 + 0.25) / 2)
    assert [(b.count, b.accuracy) for b in reliability(confidence, right)] == [(10, 0.3), (10, 0.9)]


def test_a_confidence_of_one_is_in_the_last_bin() -> None:
    assert reliability(np.array([1.0]), np.array([True]))[0].high == 1.0
