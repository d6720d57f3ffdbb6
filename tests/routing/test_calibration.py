import numpy as np
import pytest

from sluicegate.routing.calibration import Method, ece, fit_calibrator, reliability, softmax


def logits_of(count: int, seed: int, *, sharpen: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is right by construction, then made overconfident by `sharpen`."""
    random = np.random.default_rng(seed)
    honest = random.normal(0, 1.5, (count, 4))
    chance = softmax(honest)
    target = np.array([random.choice(4, p=row) for row in chance])
    return honest * sharpen, target


@pytest.mark.parametrize("method", ["temperature", "sigmoid", "isotonic"])
def test_calibration_mends_overconfidence(method: Method) -> None:
    logits, target = logits_of(3000, 0, sharpen=3.0)
    fresh, fresh_target = logits_of(3000, 1, sharpen=3.0)
    raw = softmax(fresh)
    assert ece(raw.max(axis=1), raw.argmax(axis=1) == fresh_target) > 0.1
    calibrated = fit_calibrator(logits, target, method)(fresh)
    assert ece(calibrated.max(axis=1), calibrated.argmax(axis=1) == fresh_target) < 0.03
    assert calibrated.sum(axis=1).max() <= 1 + 1e-6
    assert calibrated.sum(axis=1).mean() == pytest.approx(1.0, abs=0.01)
    assert (calibrated.argmax(axis=1) == raw.argmax(axis=1)).all()


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
