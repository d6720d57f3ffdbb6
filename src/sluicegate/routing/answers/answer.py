"""Confidence in an answer, and answerability by the documents: two calibrated probabilities and a threshold.

Logistic regressions on the features of an answer (`FEATURES`) and on what became of questions like this one (`alike`),
fitted to graded answers (`fit`), are the confidence and the answerability; the threshold from which an answer may go
out is proved on graded answers held apart. Each model has its own fit in each style: what makes a quotation right says
little of a written answer, and what one model is sure of says little of another. A quotation has a part that stands
whatever the model picks besides (`AnswerFeatures.floor`), and is judged by that part alone: it says at least that much,
so that one fit (`ANY`) holds for all models. Without a fit a confidence orders answers and is not calibrated: a quoted
answer is as sure as its best sentence's score, a written one gets weights set by hand, so that grounded, fluent,
finished answers score high. No threshold goes with it.
"""

import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import quote

import numpy as np

from sluicegate.errors import ModelError
from sluicegate.learning.artifact import FIT, WEIGHTS, cards_in, read_card
from sluicegate.learning.threshold import NEVER
from sluicegate.routing.answers.neighbour_features import ALIKE, NeighbourFeatures
from sluicegate.routing.intent.lexical import words_of
from sluicegate.services import AnswerConfidence, AnswerFeatures

__all__ = [
    "ANY",
    "FEATURES",
    "STYLES",
    "UNFITTED",
    "AnswerFit",
    "Chance",
    "FittedConfidence",
    "Origin",
    "Style",
    "features_of",
    "folder_of",
    "load_answers",
    "load_fit",
    "style_of",
    "unfitted",
]

log = logging.getLogger(__name__)

Style = Literal["write", "quote"]
STYLES: tuple[Style, ...] = get_args(Style)
Origin = tuple[str, Style]
"""The model that answered, as ``provider:model``, and how."""
ANY = "any"
"""Stands for the model of an answer that holds whatever its model did."""
REFIT = "Fit it: sluicegate router fit WORKFLOW --task answer"

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
class AnswerFit:
    """What one artifact says of the answers of one model in one style."""

    right: Chance
    known: Chance | None = None
    """That a document says it; None where the graded answers did not tell."""
    alike: NeighbourFeatures | None = None
    like: str = ""
    threshold: float = NEVER
    """The proved one."""
    level: float = 0.95
    """Probability with which the threshold's error bound holds."""
    hash: str = ""
    """Hash of the artifact."""
    origins: frozenset[Origin] = frozenset()
    """The answers that it was fitted to."""

    def judges(self, origin: Origin) -> bool:
        """Whether it was fitted to answers of this model, or of any, in this style."""
        return bool({origin, (ANY, origin[1])} & self.origins)

    def of(self, features: Mapping[str, float], vector: Sequence[float] = ()) -> AnswerConfidence:
        """From `features_of` an answer and the embedding of its question, which an artifact with `alike` needs."""
        seen = dict(features)
        if self.alike is not None:
            (means,) = self.alike(np.asarray([vector], np.float32)).tolist()
            seen |= zip(ALIKE, means, strict=True)
        sure = self.right(seen)
        return AnswerConfidence(sure, self.known(seen) if self.known else sure, seen, self.threshold)


class FittedConfidence:
    """Implements `services.Confidence`: each answer is judged by the fit for its model and style, or else, where it has
    a part that stands whatever its model picked, by the one for any model.

    Where there is none the confidence only ranks answers, and no threshold is borrowed: none reaches it.
    """

    def __init__(self, fits: Sequence[AnswerFit] = ()) -> None:
        """Raises `ModelError` SG312 when the fits compare questions by different embedders."""
        self._fits = {origin: fit for fit in fits for origin in fit.origins}
        likes = {fit.like for fit in fits if fit.like}
        if len(likes) > 1:
            raise ModelError(
                "SG312", "the fits of confidence in answers use different embedders", hint=f"Fit them together: {REFIT}"
            )
        self.like = next(iter(likes), "")
        self._warned: set[Origin] = set()

    def __call__(self, evidence: AnswerFeatures) -> AnswerConfidence:
        """As `services.Confidence`. An empty answer has no confidence; that a document says it may be likely still."""
        features = features_of(evidence)
        origin = (evidence.completion.model, style_of(features))
        fit = self._fits.get(origin)
        if fit is None and evidence.floor:
            fit = self._fits.get((ANY, origin[1]))
        if not evidence.text.strip():
            return AnswerConfidence(0.0, 0.0, features, fit.threshold if fit else NEVER)
        if fit is not None:
            return fit.of(features, evidence.vector)
        if self._fits and origin not in self._warned:
            self._warned.add(origin)
            log.warning("SG310 %s; its answers stay below the threshold. %s", unfitted(*origin), REFIT)
        quoted = evidence.similarity
        sure = _BY_HAND(features) if quoted is None else max(0.0, min(1.0, quoted))
        return AnswerConfidence(sure, sure, features, NEVER)


UNFITTED = FittedConfidence()


def unfitted(model: str, style: str) -> str:
    """What is missing for the answers of a model in a style."""
    return f"no confidence was fitted to answers of {model} in style {style!r}"


def folder_of(origin: Origin) -> str:
    """The name of the folder of its artifact: a model's name may have any character."""
    model, style = origin
    return f"{quote(model, safe='')}+{style}"


def style_of(features: Mapping[str, float]) -> Style:
    return "quote" if features.get("quoted") else "write"


def features_of(evidence: AnswerFeatures) -> dict[str, float]:
    """The features of one answer. What does not apply (log-probabilities of a quotation, say) is 0.

    ``mean_logprob``, ``least_logprob``: natural, at most 0. ``grounding``: share of the answer's telling words that the
    sources have. ``length``: logarithm of its words by 40. ``similarity``: score of the best quoted sentence;
    ``margin``: by how much the best sentence is above every other document's. ``retrieval``: similarity of the best
    source. ``overlap``: share of the question's telling words in the answer. Of a quotation they are those of the part
    that stands whatever its model picked, where there is one.
    """
    quoted = evidence.similarity is not None
    text = evidence.floor or evidence.text
    # those of a quotation are the log-probabilities of the choice's digits
    logprobs = [] if quoted else [token.logprob for token in evidence.completion.logprobs]
    return {
        "mean_logprob": max(-5.0, sum(logprobs) / len(logprobs)) if logprobs else 0.0,
        "least_logprob": max(-10.0, min(logprobs)) if logprobs else 0.0,
        "has_logprobs": float(bool(logprobs)),
        "grounding": _grounding(text, evidence.sources),
        "length": math.log1p(len(words_of(text))) - math.log(40),
        "finished": float(evidence.completion.finish == "stop"),
        "quoted": float(quoted),
        "similarity": evidence.similarity or 0.0,
        "margin": evidence.margin,
        "retrieval": max(evidence.retrieval, default=0.0),
        "overlap": _overlap(evidence.question, text),
    }


def load_answers(folder: Path | None, *, fit: str = FIT) -> FittedConfidence:
    """The confidence of the artifacts in a folder, or the unfitted one. `fit` and what it raises are as in `read_card`.

    One that an earlier release fitted lies in the folder itself and names no style: it serves its models in both.
    """
    if folder is None:
        return UNFITTED
    found = [path.parent for path in cards_in(folder)] or [folder]
    return FittedConfidence([load_fit(each, fit=fit) for each in found])


def load_fit(folder: Path, *, fit: str = FIT) -> AnswerFit:
    """One artifact. `fit` and what it raises are as in `read_card`."""
    card = read_card(folder, task="answer", fit=fit)
    known, embedder = card.get("answerability"), card.get("embedder")
    try:
        styles: Sequence[Style] = (card["style"],) if "style" in card else STYLES
        return AnswerFit(
            right=Chance(card["weights"], float(card["bias"])),
            known=Chance(known["weights"], float(known["bias"])) if known else None,
            alike=_alike(folder) if embedder else None,
            like=str(embedder["fingerprint"]) if embedder else "",
            threshold=float(card["threshold"]["value"]),
            level=float(card["target"]["confidence"]),
            hash=card["hash"],
            origins=frozenset((str(model), style) for model in card["models"] for style in styles),
        )
    except (ValueError, KeyError, TypeError) as error:
        what = f"the fitted confidence in {folder} cannot be read"
        raise ModelError("SG311", what, hint=REFIT) from error


def _alike(folder: Path) -> NeighbourFeatures:
    with np.load(folder / WEIGHTS, allow_pickle=False) as stored:
        return NeighbourFeatures(stored["questions"].astype(np.float32), stored["right"], stored["known"])


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
