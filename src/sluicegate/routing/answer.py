"""How likely an answer is right: a calibrated number from what the model and the sources show.

Features of one answer: mean and least token log-probability, how much of it is found in the sources, its length,
whether it was cut off. A logistic regression on them, fitted to graded answers, is the confidence. Until one is
fitted, `DEFAULTS` stand in: weights set by hand, so that grounded, fluent, finished answers score high and others
low; an unfitted confidence orders answers and is not calibrated, and `AnswerConfidence.fitted` says so.
"""

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
from sluicegate.services import Completion, TokenLogprob

__all__ = ["FEATURES", "AnswerConfidence", "Graded", "features_of", "fit_answers", "load_answers", "read_graded"]

Floats = NDArray[np.floating]

FEATURES = ("mean_logprob", "least_logprob", "has_logprobs", "grounding", "length", "finished")
DEFAULTS = {
    "mean_logprob": 1.2,
    "least_logprob": 0.15,
    "has_logprobs": 0.4,
    "grounding": 4.0,
    "length": -0.2,
    "finished": 1.0,
}
DEFAULT_BIAS = -2.6
LEAST = 50
"""Graded answers of which at least ten are right and ten wrong."""
MARKER = re.compile(r"\[\d+\]")


@dataclass(frozen=True, slots=True)
class Graded:
    """One answer that somebody graded."""

    features: dict[str, float]
    right: bool


@dataclass(frozen=True, slots=True)
class AnswerConfidence:
    """Gives `services.confidence`. Weights per feature, and whether they were fitted to graded answers."""

    weights: Mapping[str, float]
    bias: float
    fitted: bool
    hash: str = ""
    """Hash of the artifact; empty for the defaults."""

    def __call__(self, completion: Completion, sources: Sequence[str]) -> float:
        """Probability that the answer is right, in [0, 1]; 0 for an empty answer."""
        if not completion.text.strip():
            return 0.0
        return self.of(features_of(completion, sources))

    def of(self, features: Mapping[str, float]) -> float:
        score = self.bias + sum(self.weights[name] * features[name] for name in FEATURES)
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, score))))


UNFITTED = AnswerConfidence(DEFAULTS, DEFAULT_BIAS, fitted=False)


def features_of(completion: Completion, sources: Sequence[str]) -> dict[str, float]:
    """The features of one answer. Log-probabilities are natural and at most 0; without them both are 0."""
    logprobs = [token.logprob for token in completion.logprobs]
    return {
        "mean_logprob": max(-5.0, sum(logprobs) / len(logprobs)) if logprobs else 0.0,
        "least_logprob": max(-10.0, min(logprobs)) if logprobs else 0.0,
        "has_logprobs": float(bool(logprobs)),
        "grounding": _grounding(completion.text, sources),
        "length": math.log1p(len(words_of(completion.text))) - math.log(40),
        "finished": float(completion.finish == "stop"),
    }


def fit_answers(graded: Sequence[Graded], *, digests: Mapping[str, str], out: Path) -> dict[str, Any]:
    """Fit on graded answers, write the artifact to `out`, return its card.

    The figures on the card come from five-fold cross-fitting. Raises `ModelError` SG313 when there are too few.
    """
    import sklearn.linear_model
    import sklearn.model_selection

    selection: Any = sklearn.model_selection
    linear: Any = sklearn.linear_model

    right = np.array([row.right for row in graded])
    few = min(int(right.sum()), int((~right).sum()))
    if len(graded) < LEAST or few < 10:
        raise ModelError(
            "SG313",
            f"{len(graded)} graded answers, {int(right.sum())} of them right",
            mend=f"At least {LEAST} are needed, 10 right and 10 wrong",
        )
    seen = np.array([[row.features[name] for name in FEATURES] for row in graded])
    model: Any = linear.LogisticRegression(C=1.0, max_iter=1000)
    folds = selection.StratifiedKFold(5, shuffle=True, random_state=0)
    chance: Floats = selection.cross_val_predict(model, seen, right, cv=folds, method="predict_proba")[:, 1]
    model.fit(seen, right)
    card = {
        "task": "answer",
        "data": {"train": dict(digests)},
        "rows": {"train": len(graded)},
        "weights": {name: float(value) for name, value in zip(FEATURES, model.coef_[0], strict=True)},
        "bias": float(model.intercept_[0]),
        "metrics": {
            "accuracy": float(((chance >= 0.5) == right).mean()),
            "auroc": auroc(chance, right),
            "ece": ece(chance, right),
            "right": float(right.mean()),
        },
    }
    digest = write_folder(out, card, {"weights": model.coef_[0]})
    return {**card, "hash": digest}


def load_answers(folder: Path | None) -> AnswerConfidence:
    """The fitted confidence of an artifact, or the defaults without one. Raises `ModelError` SG310, SG311, SG312."""
    if folder is None:
        return UNFITTED
    card = read_card(folder, task="answer")
    return AnswerConfidence(card["weights"], float(card["bias"]), fitted=True, hash=card["hash"])


def read_graded(rows: Sequence[Mapping[str, Any]]) -> list[Graded]:
    """Graded answers from rows with `text`, `sources`, `right`, and where known `logprobs` and `finish`.

    `logprobs` are those of the answer's tokens. Raises `ModelError` SG313 for a row without the first three.
    """
    found: list[Graded] = []
    for number, row in enumerate(rows, start=1):
        try:
            text, sources, right = str(row["text"]), [str(s) for s in row["sources"]], bool(row["right"])
        except (KeyError, TypeError) as error:
            raise ModelError("SG313", f"row {number}: a graded answer has text, sources and right") from error
        completion = _completion(text, row.get("logprobs") or (), str(row.get("finish") or "stop"))
        found.append(Graded(features_of(completion, sources), right))
    return found


def _completion(text: str, logprobs: Sequence[float], finish: str) -> Completion:
    tokens = tuple(TokenLogprob("", float(value)) for value in logprobs)
    ended = "length" if finish == "length" else "stop"
    return Completion(text, "", "", 0, len(tokens), ended, 0.0, 0.0, logprobs=tokens)


def _grounding(text: str, sources: Sequence[str]) -> float:
    """Share of the answer's words of four letters or more, and numbers, that some source has; 1 when it has none."""
    known = {word for source in sources for word in words_of(source)}
    telling = [w for w in words_of(MARKER.sub(" ", text)) if len(w) > 3 or w.isdigit()]
    return sum(word in known for word in telling) / len(telling) if telling else 1.0
