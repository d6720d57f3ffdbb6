"""Drift of the joint score: found when it is there, and no more often claimed than said when it is not."""

import numpy as np

from sluicegate.routing.joint.drift import ALARM, BLOCK, drifted
from sluicegate.routing.joint.thresholds import LOW_CONFIDENCE, joint_score


def test_what_has_not_changed_raises_hardly_an_alarm() -> None:
    rng = np.random.default_rng(0)
    alarms = sum(drifted(rng.normal(size=100).tolist(), rng.normal(size=200).tolist()).drifted for _ in range(100))
    assert alarms <= 100 * 4 / ALARM


def test_scores_that_sink_raise_one() -> None:
    rng = np.random.default_rng(1)
    found = drifted(rng.normal(size=150).tolist(), rng.normal(-1, 1, size=150).tolist())
    assert found.drifted
    assert found.runs == 150


def test_equal_scores_are_no_drift() -> None:
    assert not drifted([0.5] * 100, [0.5] * 300).drifted


def test_a_long_time_without_drift_does_not_count() -> None:
    rng = np.random.default_rng(2)
    before, after = rng.normal(size=BLOCK).tolist(), rng.normal(-1, 1, size=150).tolist()
    found = drifted(rng.normal(size=150).tolist(), [*before, *after])
    assert (found.runs, found.drifted) == (150, True)


def test_without_runs_there_is_nothing_to_say() -> None:
    assert drifted([0.1, 0.2], []).evidence == 1.0


def test_the_joint_score_is_that_of_the_nearest_threshold() -> None:
    thresholds = {"router.threshold": 0.5, "router.escalation_threshold": 0.25, "answer.threshold": 0.5}
    scores = {"intent.confidence": 0.75, "router.needs_large": 0.125, "answer.confidence": 1.0}
    assert joint_score(thresholds, scores) == 0.125
    assert joint_score(thresholds, {**scores, "router.needs_large": 0.5}) == -0.25
    assert joint_score(thresholds, {"intent.confidence": 0.25}) == -0.25
    assert joint_score(thresholds, {}) is None
    assert joint_score(LOW_CONFIDENCE, {"intent.confidence": 0.9}) is None
