"""Thresholds that replace those of the single stages: the router's, escalation's and the answers'."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from sluicegate.learning.threshold import NEVER
from sluicegate.routing.config import OnDrift
from sluicegate.services import AnswerConfidence, AnswerFeatures, Classification, Confidence, Router

__all__ = [
    "DRIFT",
    "LOW_CONFIDENCE",
    "SCORES",
    "ComparedScore",
    "ConfidenceWithThresholds",
    "JointThresholds",
    "RouterWithThresholds",
    "Serving",
    "Vector",
    "joint_score",
    "sentence",
    "source",
]

Vector = Mapping[str, float]
"""Thresholds by the field that has them, such as ``router.threshold``; one that is absent is left to its stage."""


@dataclass(frozen=True, slots=True)
class ComparedScore:
    """What a threshold is compared with."""

    field: str
    rising: bool
    """Whether higher scores keep a request with the small model."""

    def margin(self, score: float, threshold: float) -> float:
        """How far the score is on the small model's side of the threshold; below 0 on the other."""
        return score - threshold if self.rising else threshold - score


SCORES: Mapping[str, ComparedScore] = {
    "router.threshold": ComparedScore("intent.confidence", rising=True),
    "router.escalation_threshold": ComparedScore("router.needs_large", rising=False),
    "answer.threshold": ComparedScore("answer.confidence", rising=True),
}
"""The thresholds that are chosen together."""

LOW_CONFIDENCE: Vector = {name: NEVER if score.rising else 0.0 for name, score in SCORES.items()}
"""No score reaches the small model's side: every request takes its low-confidence branch."""


def joint_score(thresholds: Vector, scores: Mapping[str, float]) -> float | None:
    """How far a request is on the small model's side of the thresholds that it met, by the one that is nearest to
    turning it away; None where it has none of the scores. Thresholds that no score reaches tell nothing."""
    margins = [
        SCORES[name].margin(scores[field], threshold)
        for name, threshold in thresholds.items()
        if (field := SCORES[name].field) in scores and threshold < NEVER
    ]
    return min(margins, default=None)


def source(card: Mapping[str, Any]) -> str:
    """What an incident of drift names as its source."""
    return f"joint thresholds {card['hash'][:12]}"


def sentence(card: Mapping[str, Any]) -> str:
    """What the thresholds promise, and what that rests on."""
    seen = card["proof"]
    return (
        f"What goes out unasked is wrong at most {100 * card['error']:g} % of the time, "
        f"with {100 * card['confidence']:g} % confidence: of {card['rows']['proof']:,} graded requests "
        f"{seen['sent']:,} went out unasked and {seen['wrong']:,} of them were wrong (p = {seen['p']:.2g})."
    )


Serving = Callable[[str], Vector]
"""The thresholds of now, for the answers of a model; the router's are asked for with an empty name."""


DRIFT: Final = "drift"
"""The kind of the incident that says that the thresholds may not be trusted."""


class JointThresholds:
    """The thresholds of now: those of `card`, or what serves in their place, none standing for each stage's own.

    That is so without a card, and while `drifting`. For the answers of models that were not graded nothing was proved.
    """

    def __init__(self, card: Mapping[str, Any] | None, on_drift: OnDrift, drifting: Callable[[], bool]) -> None:
        self._card, self._drifting = card, drifting
        self._fallback: Vector = LOW_CONFIDENCE if on_drift == "low-confidence" else {}

    def __call__(self, model: str) -> Vector:
        """As `Serving`."""
        if self._card is None or self._drifting():
            return self._fallback
        return dict(self._card["thresholds"]) if not model or model in self._card["models"] else {}


class RouterWithThresholds:
    """`services.Router` with these thresholds.

    A request that is unlike the calibration rows, or labelled by a small model that may not label, keeps the threshold
    that no confidence reaches.
    """

    def __init__(self, router: Router, thresholds: Serving) -> None:
        self._router, self._thresholds = router, thresholds

    async def classify(self, text: str) -> Classification:
        found, now = await self._router.classify(text), self._thresholds("")
        if escalation := found.escalation:
            moved = now.get("router.escalation_threshold", escalation.threshold)
            found = replace(found, escalation=replace(escalation, threshold=moved))
        if found.unlike or (found.by == "slm" and found.threshold >= NEVER):
            return found
        return replace(found, threshold=now.get("router.threshold", found.threshold))


class ConfidenceWithThresholds:
    """`services.Confidence` with these thresholds."""

    def __init__(self, confidence: Confidence, thresholds: Serving) -> None:
        self._confidence, self._thresholds = confidence, thresholds

    @property
    def like(self) -> str:
        return self._confidence.like

    def __call__(self, evidence: AnswerFeatures) -> AnswerConfidence:
        found, now = self._confidence(evidence), self._thresholds(evidence.completion.model)
        return replace(found, threshold=now.get("answer.threshold", found.threshold))
