"""Confidence in an answer, and answerability by the documents: two calibrated probabilities and a threshold.

Logistic regressions on the features of an answer (`FEATURES`) and on what became of questions like this one (`alike`),
fitted to graded answers (`answer_fit`), are the confidence and the answerability; the threshold from which an answer
may go out is proved on graded answers held apart. Until one is fitted a confidence orders answers and is not
calibrated, as `FittedConfidence.fitted` says: a quoted answer is as sure as its best sentence's score, a written one
gets weights set by hand, so that grounded, fluent, finished answers score high. No threshold goes with it.
"""

import functools
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sluicegate.errors import ModelError
from sluicegate.learning.artifact import FIT, WEIGHTS, read_card
from sluicegate.learning.threshold import NEVER
from sluicegate.routing.answers.neighbour_features import ALIKE, NeighbourFeatures
from sluicegate.routing.intent.lexical import words_of
from sluicegate.services import AnswerConfidence, AnswerFeatures

__all__ = ["FEATURES", "UNFITTED", "Chance", "FittedConfidence", "features_of", "load_answers"]

FEATURES = (
    "mean_logprob", "least_logprob", "has_logprobs", "grounding", "length", "finished",
    "quoted", "similarity", "margin", "retrieval", "overlap",
)  # fmt: skip
MARKER = re.compile(r"\[\d+\]")
_STEM = 5
"""Prefix length by which two words count as the same: a cheap stem."""


@dataclass(frozen=True, slots=True)
class Chance:
    """A logistic regression."""

    weights: Mapping[str, float]
    bias: float

    def __call__(self, features: Mapping[str, float]) -> float:
        """A probability; a feature that is absent counts as 0."""
        score = self.bias + sum(weight * features.get(name, 0.0) for name, weight in self.weights.items())
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, score))))


_BY_HAND = Chance(
    {
        "mean_logprob": 1.2,
        "least_logprob": 0.15,
        "has_logprobs": 0.4,
        "grounding": 4.0,
        "length": -0.2,
        "finished": 1.0,
    },
    -2.6,
)


@dataclass(frozen=True, slots=True)
class FittedConfidence:
    """Implements `services.Confidence`."""

    right: Chance
    known: Chance | None = None
    """That a document says it; None where the graded answers did not tell."""
    alike: NeighbourFeatures | None = None
    like: str = ""
    fitted: bool = False
    threshold: float = NEVER
    """The proved one; without an artifact no confidence reaches it."""
    level: float = 0.95
    """Probability with which the threshold's error bound holds."""
    hash: str = ""
    """Hash of the artifact; empty without one."""
    models: frozenset[str] = frozenset()
    """The model it was fitted to; nothing is proved for another model's answers."""

    def __call__(self, evidence: AnswerFeatures) -> AnswerConfidence:
        """As `services.Confidence`. An empty answer has no confidence; that a document says it may be likely still."""
        features = features_of(evidence)
        if not evidence.text.strip():
            return AnswerConfidence(0.0, 0.0, features)
        if self.models and evidence.completion.model not in self.models:
            _warn(evidence.completion.model, ", ".join(sorted(self.models)))
        if not self.fitted and evidence.similarity is not None:
            sure = max(0.0, min(1.0, evidence.similarity))
            return AnswerConfidence(sure, sure, features)
        return self.of(features, evidence.vector)

    def of(self, features: Mapping[str, float], vector: Sequence[float] = ()) -> AnswerConfidence:
        """From `features_of` an answer and the embedding of its question, which an artifact with `alike` needs."""
        seen = dict(features)
        if self.alike is not None:
            (means,) = self.alike(np.asarray([vector], np.float32)).tolist()
            seen |= zip(ALIKE, means, strict=True)
        sure = self.right(seen)
        return AnswerConfidence(sure, self.known(seen) if self.known else sure, seen)


UNFITTED = FittedConfidence(_BY_HAND)


def features_of(evidence: AnswerFeatures) -> dict[str, float]:
    """The features of one answer. What does not apply (log-probabilities of a quotation, say) is 0.

    ``mean_logprob``, ``least_logprob``: natural, at most 0. ``grounding``: share of the answer's telling words that the
    sources have. ``length``: logarithm of its words by 40. ``similarity``: score of the best quoted sentence;
    ``margin``: by how much the best sentence is above every other document's. ``retrieval``: similarity of the best
    source. ``overlap``: share of the question's telling words in the answer.
    """
    quoted = evidence.similarity is not None
    # those of a quotation are the log-probabilities of the choice's digits
    logprobs = [] if quoted else [token.logprob for token in evidence.completion.logprobs]
    return {
        "mean_logprob": max(-5.0, sum(logprobs) / len(logprobs)) if logprobs else 0.0,
        "least_logprob": max(-10.0, min(logprobs)) if logprobs else 0.0,
        "has_logprobs": float(bool(logprobs)),
        "grounding": _grounding(evidence.text, evidence.sources),
        "length": math.log1p(len(words_of(evidence.text))) - math.log(40),
        "finished": float(evidence.completion.finish == "stop"),
        "quoted": float(quoted),
        "similarity": evidence.similarity or 0.0,
        "margin": evidence.margin,
        "retrieval": max(evidence.retrieval, default=0.0),
        "overlap": _overlap(evidence.question, evidence.text),
    }


def load_answers(folder: Path | None, *, fit: str = FIT) -> FittedConfidence:
    """The fitted confidence of an artifact, or the unfitted one. `fit` and what it raises are as in `read_card`."""
    if folder is None:
        return UNFITTED
    card = read_card(folder, task="answer", fit=fit)
    known, embedder = card.get("answerability"), card.get("embedder")
    try:
        return FittedConfidence(
            right=Chance(card["weights"], float(card["bias"])),
            known=Chance(known["weights"], float(known["bias"])) if known else None,
            alike=_alike(folder) if embedder else None,
            like=str(embedder["fingerprint"]) if embedder else "",
            fitted=True,
            threshold=float(card["threshold"]["value"]),
            level=float(card["target"]["confidence"]),
            hash=card["hash"],
            models=frozenset(card["models"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        what = f"the fitted confidence in {folder} cannot be read"
        raise ModelError("SG311", what, hint="sluicegate router fit WORKFLOW --task answer") from error


def _alike(folder: Path) -> NeighbourFeatures:
    with np.load(folder / WEIGHTS, allow_pickle=False) as stored:
        return NeighbourFeatures(stored["questions"].astype(np.float32), stored["right"], stored["known"])


@functools.cache  # once is enough
def _warn(answered: str, fitted: str) -> None:
    logging.getLogger(__name__).warning(
        "confidence was fitted to answers of %s; %s answers, so its threshold does not hold; "
        "fit it again with `sluicegate router fit WORKFLOW --task answer`",
        fitted,
        answered,
    )


def _grounding(text: str, sources: Sequence[str]) -> float:
    """Share of the answer's words of four letters or more, and numbers, that some source has; 1 when it has none."""
    known = {word for source in sources for word in words_of(source)}
    telling = _telling(text)
    return sum(word in known for word in telling) / len(telling) if telling else 1.0


def _overlap(question: str, text: str) -> float:
    """Share of the question's telling words whose stem the answer has; 0 when it has none."""
    asked = {word[:_STEM] for word in _telling(question)}
    return len(asked & {word[:_STEM] for word in words_of(text)}) / len(asked) if asked else 0.0


def _telling(text: str) -> list[str]:
    return [word for word in words_of(MARKER.sub(" ", text)) if len(word) > 3 or word.isdigit()]
