"""Thresholds that replace those of the stages: where they do, and where nothing was proved for them."""

from dataclasses import replace
from typing import Any

import pytest

from sluicegate.learning.threshold import NEVER
from sluicegate.routing.joint.thresholds import (
    LOW_CONFIDENCE,
    ConfidenceWithThresholds,
    JointThresholds,
    RouterWithThresholds,
)
from sluicegate.services import AnswerFeatures, Classification, Completion, Escalation
from tests.support.fakes import FakeConfidence, FakeRouter

CARD: dict[str, Any] = {
    "thresholds": {"router.threshold": 0.3, "router.escalation_threshold": 0.6, "answer.threshold": 0.4},
    "models": ["fake:slm"],
}
SERVING = JointThresholds(CARD, "stage-wise", lambda: False)


class Labelled(FakeRouter):
    changes: dict[str, Any]

    async def classify(self, text: str) -> Classification:
        return replace(await super().classify(text), escalation=Escalation(0.5, 0.1, "h"), **self.changes)


@pytest.mark.parametrize(
    ("changes", "threshold"),
    [
        ({}, 0.3),
        ({"threshold": NEVER}, 0.3),
        ({"threshold": NEVER, "unlike": "language", "by": "unlike"}, NEVER),
        ({"threshold": NEVER, "by": "slm"}, NEVER),
        ({"by": "slm"}, 0.3),
    ],
)
async def test_the_routers_threshold(changes: dict[str, Any], threshold: float) -> None:
    router = Labelled()
    router.changes = changes
    found = await RouterWithThresholds(router, SERVING).classify("x")
    assert found.threshold == threshold
    assert found.escalation
    assert found.escalation.threshold == 0.6


@pytest.mark.parametrize(("model", "threshold"), [("fake:slm", 0.4), ("other:model", 0.75)])
def test_the_threshold_of_answers_is_for_the_models_that_were_graded(model: str, threshold: float) -> None:
    completion = Completion("x", model, model, 1, 1, "stop", 1.0, 0.0)
    judged = ConfidenceWithThresholds(FakeConfidence(0.5, threshold=0.75), SERVING)
    assert judged(AnswerFeatures(completion, "x", "x", [])).threshold == threshold


def test_while_drifting_what_the_workflow_names_serves() -> None:
    assert JointThresholds(CARD, "stage-wise", lambda: True)("") == {}
    assert JointThresholds(CARD, "low-confidence", lambda: True)("other:model") == LOW_CONFIDENCE
    assert JointThresholds(None, "low-confidence", lambda: False)("") == LOW_CONFIDENCE
