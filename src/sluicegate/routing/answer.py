"""How likely an answer is right: a calibrated number from what the model and the sources show, and a threshold for it.

A logistic regression on the features of an answer (`FEATURES`), fitted to graded answers, is the confidence; the
threshold from which an answer may go out is proved on graded answers held apart, by the same risk control as the
router's (`threshold`). Until one is fitted a confidence orders answers and is not calibrated, as
`AnswerConfidence.fitted` says: a quoted answer is as sure as its best sentence's score, a written one gets
weights set by hand, so that grounded, fluent, finished answers score high. No threshold goes with it.
"""

import functools
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sluicegate.errors import ModelError
from sluicegate.routing.artifact import read_card, write_folder
from sluicegate.routing.calibration import ece
from sluicegate.routing.lexical import words_of
from sluicegate.routing.metrics import auroc
from sluicegate.routing.threshold import NEVER, Threshold, candidates, fit_threshold, least_rows, rows_needed
from sluicegate.services import Completion, Evidence, TokenLogprob

__all__ = [
    "FEATURES",
    "UNFITTED",
    "AnswerConfidence",
    "AnswerTarget",
    "Graded",
    "features_of",
    "fit_answers",
    "load_answers",
    "read_graded",
]

Floats = NDArray[np.floating]

FEATURES = (
    "mean_logprob", "least_logprob", "has_logprobs", "grounding", "length", "finished",
    "quoted", "similarity", "margin", "retrieval", "overlap",
)  # fmt: skip
_BY_HAND = {
    "mean_logprob": 1.2,
    "least_logprob": 0.15,
    "has_logprobs": 0.4,
    "grounding": 4.0,
    "length": -0.2,
    "finished": 1.0,
}
_BIAS_BY_HAND = -2.6
LEAST = 50
"""Graded answers of which at least ten are right and ten wrong."""
APART = 0.5
"""Share of the graded answers that proves the threshold when none are held apart."""
MARKER = re.compile(r"\[\d+\]")
_STEM = 5
"""Letters by which two words count as the same: a cheap stem."""


@dataclass(frozen=True, slots=True)
class Graded:
    """One answer that somebody graded."""

    features: dict[str, float]
    right: bool
    model: str = ""
    """What answered, where known."""


@dataclass(frozen=True, slots=True)
class AnswerConfidence:
    """Implements `services.Confidence`."""

    weights: Mapping[str, float]
    bias: float
    fitted: bool
    threshold: float = NEVER
    """The proved one; without an artifact no confidence reaches it."""
    level: float = 0.95
    """Probability with which the threshold's error bound holds."""
    hash: str = ""
    """Hash of the artifact; empty without one."""
    models: frozenset[str] = frozenset()
    """What answered when it was fitted: of another model's answers nothing is proved."""

    def __call__(self, evidence: Evidence) -> float:
        """Probability that the answer is right, in [0, 1]; 0 for an empty answer."""
        if not evidence.text.strip():
            return 0.0
        if self.models and evidence.completion.model not in self.models:
            _warn(evidence.completion.model, ", ".join(sorted(self.models)))
        if not self.fitted and evidence.similarity is not None:
            return max(0.0, min(1.0, evidence.similarity))
        return self.of(features_of(evidence))

    def of(self, features: Mapping[str, float]) -> float:
        score = self.bias + sum(weight * features.get(name, 0.0) for name, weight in self.weights.items())
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, score))))


UNFITTED = AnswerConfidence(_BY_HAND, _BIAS_BY_HAND, fitted=False)


def features_of(evidence: Evidence) -> dict[str, float]:
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


@dataclass(frozen=True, slots=True)
class AnswerTarget:
    """How often an answer that goes out may be wrong, and how sure that must be."""

    error: float
    confidence: float
    needed: bool = True
    """False writes an artifact with a threshold that nothing reaches where none can be proved, instead of refusing."""


def fit_answers(
    graded: Sequence[Graded],
    apart: Sequence[Graded] | None = None,
    *,
    target: AnswerTarget,
    digests: Mapping[str, str],
    out: Path,
) -> dict[str, Any]:
    """Fit on `graded`, prove the threshold on `apart`, write the artifact to `out`, return its card.

    Without `apart`, every second of a fixed shuffle of the graded answers proves. The figures on the card are those of
    the answers held apart. Raises `ModelError` SG313 when there are too few, or when they cannot support the target.
    """
    if apart is None:
        order: list[int] = np.random.default_rng(0).permutation(len(graded)).tolist()
        cut = round(len(order) * APART)
        graded, apart = [graded[i] for i in order[cut:]], [graded[i] for i in order[:cut]]
    right, proof = _right(graded), _right(apart)
    few = min(int(right.sum()), int((~right).sum()))
    if len(graded) < LEAST or few < 10 or not len(apart):
        raise ModelError(
            "SG313",
            f"{len(graded)} graded answers to fit on, {int(right.sum())} of them right, and {len(apart)} held apart",
            mend=f"At least {LEAST} are needed to fit on, 10 right and 10 wrong, and as many again to prove on",
        )
    weights, bias, crossed = _fitted(_seen(graded), right)
    chance = _chances(_seen(apart), weights, bias)
    found = _threshold(crossed, right, chance, proof, target)
    card = {
        "task": "answer",
        "data": dict(digests),
        "rows": {"train": len(graded), "proof": len(apart)},
        "models": sorted({row.model for row in (*graded, *apart) if row.model}),
        "weights": dict(zip(FEATURES, weights.tolist(), strict=True)),
        "bias": bias,
        "target": {"error": target.error, "confidence": target.confidence},
        "threshold": {
            "value": found.value if found else NEVER,
            "proved": found is not None,
            "accepted": found.accepted if found else 0,
            "wrong": found.wrong if found else 0,
            "rows": len(apart),
            "bound": found.bound if found else 1.0,
        },
        "metrics": {
            "right": float(proof.mean()),
            "accuracy": float(((chance >= 0.5) == proof).mean()),
            "auroc": auroc(chance, proof),
            "ece": ece(chance, proof),
            "coverage": found.coverage if found else 0.0,
            "accepted_right": 1 - found.wrong / found.accepted if found and found.accepted else 0.0,
        },
    }
    digest = write_folder(out, card, {"weights": weights})
    return {**card, "hash": digest}


def load_answers(folder: Path | None) -> AnswerConfidence:
    """The fitted confidence of an artifact, or the unfitted one. Raises `ModelError` SG310, SG311, SG312."""
    if folder is None:
        return UNFITTED
    card = read_card(folder, task="answer")
    threshold, models = float(card["threshold"]["value"]), frozenset(card["models"])
    level = float(card["target"]["confidence"])
    return AnswerConfidence(card["weights"], float(card["bias"]), True, threshold, level, card["hash"], models)


def read_graded(rows: Sequence[Mapping[str, Any]]) -> list[Graded]:
    """Graded answers from rows with `right` and either `features`, or `text` and `sources`.

    Rows with `text` may have `question`, `logprobs` (those of the answer's tokens), `finish` and `model`. Raises
    `ModelError` SG313 for a row that has neither.
    """
    found: list[Graded] = []
    for number, row in enumerate(rows, start=1):
        try:
            if "features" in row:
                features = {name: float(row["features"][name]) for name in FEATURES}
            else:
                features = features_of(_evidence(row))
            found.append(Graded(features, bool(row["right"]), str(row.get("model") or "")))
        except (KeyError, TypeError, ValueError) as error:
            what = f"row {number}: a graded answer has text, sources and right, or features and right"
            raise ModelError("SG313", what) from error
    return found


@functools.cache  # once is enough
def _warn(answered: str, fitted: str) -> None:
    logging.getLogger(__name__).warning(
        "confidence was fitted to answers of %s; %s answers, so its threshold proves nothing: "
        "fit it again with `sluicegate router fit WORKFLOW --task answer`",
        fitted,
        answered,
    )


def _evidence(row: Mapping[str, Any]) -> Evidence:
    tokens = tuple(TokenLogprob("", float(value)) for value in row.get("logprobs") or ())
    ended = "length" if row.get("finish") == "length" else "stop"
    text = str(row["text"])
    completion = Completion(text, "", "", 0, len(tokens), ended, 0.0, 0.0, logprobs=tokens)
    return Evidence(completion, text, str(row.get("question") or ""), [str(each) for each in row["sources"]])


def _seen(graded: Sequence[Graded]) -> Floats:
    return np.array([[row.features[name] for name in FEATURES] for row in graded])


def _right(graded: Sequence[Graded]) -> NDArray[np.bool_]:
    return np.array([row.right for row in graded], bool)


def _fitted(seen: Floats, right: NDArray[np.bool_]) -> tuple[Floats, float, Floats]:
    """Weights and bias on the features as they are, and the rows' cross-fitted chances."""
    import sklearn.linear_model
    import sklearn.model_selection

    selection: Any = sklearn.model_selection
    linear: Any = sklearn.linear_model
    middle, scale = seen.mean(axis=0), seen.std(axis=0)
    # a feature that is the same in every row says nothing, and would say anything in one where it is not
    told = scale > 1e-9
    even = np.where(told, (seen - middle) / np.where(told, scale, 1.0), 0.0)
    model: Any = linear.LogisticRegression(C=0.3, max_iter=1000)
    folds = selection.StratifiedKFold(5, shuffle=True, random_state=0)
    crossed: Floats = selection.cross_val_predict(model, even, right, cv=folds, method="predict_proba")[:, 1]
    model.fit(even, right)
    weights = np.where(told, model.coef_[0] / np.where(told, scale, 1.0), 0.0)
    return weights, float(model.intercept_[0] - weights @ middle), crossed


def _chances(seen: Floats, weights: Floats, bias: float) -> Floats:
    return 1 / (1 + np.exp(-np.clip(seen @ weights + bias, -30, 30)))


def _threshold(
    crossed: Floats, right: NDArray[np.bool_], chance: Floats, proof: NDArray[np.bool_], target: AnswerTarget
) -> Threshold | None:
    """Proved on the answers held apart, tested in the order that the others give. Raises `ModelError` SG313.

    That order is kept as shares of answers to accept, strict to lenient, so that it fits answers held apart that are
    less sure as a whole; shares of too few answers to prove anything are left out. It may look at how sure the answers
    are, not at which are right: above an order statistic they are still drawn alike, and the wrong ones binomial.
    """
    strict = candidates(crossed, right, rows=len(chance), error=target.error, level=target.confidence)
    least = least_rows(target.error, target.confidence)
    shares = dict.fromkeys(max(float(np.mean(crossed >= value)), min(least / len(chance), 1.0)) for value in strict)
    grid = [float(np.quantile(chance, 1 - share, method="lower")) for share in shares]
    found = fit_threshold(chance, proof, grid, error=target.error, level=target.confidence)
    if found is None and target.needed:
        surest = chance >= grid[0]
        rate = float(np.mean(~right[crossed >= strict[0]]))
        missing = rows_needed(rate, target.error, target.confidence)
        raise ModelError(
            "SG313",
            f"no confidence can promise answers wrong at most {target.error:.0%} of the time: of the surest "
            f"{int(surest.sum())} of {len(chance)} answers held apart, {int((~proof[surest]).sum())} are wrong",
            mend=f"About {max(missing, least)} answers as sure as the surest would do, held apart" if missing else
            f"Allow more error, or mend the answers; {least} sure and right ones are the least that prove it",
        )  # fmt: skip
    return found


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
