"""Classification of requests, and confidence in answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sluicegate.services.models import Completion
from sluicegate.state import DecidedBy, LabelScore

__all__ = ["AnswerConfidence", "AnswerFeatures", "Classification", "Confidence", "Escalation", "Router"]


@dataclass(frozen=True, slots=True)
class Escalation:
    """Whether a request needs the large model."""

    needs_large: float
    """Calibrated probability that the large model answers it right and the small one does not."""
    threshold: float
    """From which probability on it should be sent to the large model, by the workflow's target."""
    artifact: str
    """Hash of the escalation artifact."""


@dataclass(frozen=True, slots=True)
class Classification:
    label: str
    confidence: float
    """Calibrated probability that `label` is right."""
    alternatives: tuple[LabelScore, ...]
    """Every label with its probability, most likely first."""
    threshold: float
    """Minimum confidence at which `label` may be trusted, by the artifact's error bound."""
    out_of_scope: bool
    by: DecidedBy
    artifact: str
    """Hash of the router artifact."""
    escalation: Escalation | None = None
    """None where the workflow names no fitted escalation."""
    unlike: str = ""
    """What sets the request apart from the calibration rows: ``language``, ``novelty``, or nothing."""


class Router(Protocol):
    async def classify(self, text: str) -> Classification: ...


@dataclass(frozen=True, slots=True)
class AnswerFeatures:
    """The features by which an answer is judged."""

    completion: Completion
    text: str
    """The answer as it goes out."""
    question: str
    sources: Sequence[str]
    """The texts that it was made from."""
    retrieval: Sequence[float] = ()
    """The sources' similarities with the question, where they were retrieved."""
    similarity: float | None = None
    """Score of the best quoted sentence (`nodes.writing.ranking`), at most 1; None for an answer in the model's own
    words."""
    margin: float = 0.0
    """The lead of the best sentence over those of other documents."""
    vector: Sequence[float] = ()
    """The question's embedding, where the confidence reads it (`Confidence.like`)."""
    floor: str = ""
    """Of a quoted answer, what it says whatever its model picked; empty where the model picked all of it."""


@dataclass(frozen=True, slots=True)
class AnswerConfidence:
    """The confidence in one answer; both values are probabilities, calibrated once fitted."""

    confidence: float
    """That the answer is right."""
    answerability: float
    """That the sources say what was asked, whether or not this answer found it; `confidence` where none is fitted."""
    features: Mapping[str, float]
    """The features behind them, by name."""
    threshold: float
    """Minimum confidence at which this answer may be sent, fitted to answers of its model and style with a stated error
    bound; above every confidence where none was."""


class Confidence(Protocol):
    """The confidence in answers, each with the threshold from which it may be sent."""

    @property
    def like(self) -> str:
        """Fingerprint of the embedder whose vector of the question it needs; empty when it needs none."""
        ...

    def __call__(self, evidence: AnswerFeatures) -> AnswerConfidence: ...
