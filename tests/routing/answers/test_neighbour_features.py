import numpy as np
import pytest

from sluicegate.routing.answers.neighbour_features import PRIOR, SHARPNESS, NeighbourFeatures

NAN = float("nan")


def alike(right: list[float], known: list[float]) -> NeighbourFeatures:
    """Three questions, each at right angles to the others."""
    return NeighbourFeatures(np.eye(3, dtype=np.float32), np.array(right, np.float32), np.array(known, np.float32))


def test_the_nearest_question_counts_most() -> None:
    found = alike([1, 0, 0], [1, 0, 0])
    far = np.exp(-SHARPNESS)
    expected = (1 + PRIOR / 3) / (1 + 2 * far + PRIOR)
    assert found(np.eye(3, dtype=np.float32))[0] == pytest.approx([expected, expected])
    assert found(np.eye(3, dtype=np.float32))[1, 0] == pytest.approx((far + PRIOR / 3) / (1 + 2 * far + PRIOR))


def test_a_question_like_none_gets_the_mean_of_all() -> None:
    away = -np.ones((1, 3), np.float32) / np.sqrt(np.float32(3))
    assert alike([1, 1, 0], [1, 0, 0])(away)[0] == pytest.approx([2 / 3, 1 / 3], abs=1e-3)


def test_a_question_is_not_judged_by_itself() -> None:
    both = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    found = NeighbourFeatures(both, np.array([1, 0, 0], np.float32), np.array([1, 1, 0], np.float32))
    own = found(both, own=True)
    # of the first two, which are the same, each sees the other's grade
    assert own[0, 0] < 0.1
    assert own[1, 0] > 0.9
    assert own[2, 1] == pytest.approx((2 * np.exp(-SHARPNESS) + PRIOR * 2 / 3) / (2 * np.exp(-SHARPNESS) + PRIOR))


def test_only_those_that_tell_whether_a_document_has_it_are_asked_about_that() -> None:
    some = alike([1, 0, 0], [NAN, 1, 0])(np.eye(3, dtype=np.float32))
    # what is told is as far from the first question as from anything, and half of it is known
    assert some[0, 1] == pytest.approx(0.5)
    assert alike([1, 0, 0], [NAN, NAN, NAN])(np.eye(3, dtype=np.float32))[:, 1].tolist() == [0.5, 0.5, 0.5]
