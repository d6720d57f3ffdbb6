"""Learns which requests need the large model, from logs that say whether each model was right.

The target is what the large model gains: ``strong_correct - weak_correct``, in {-1, 0, 1}. With an embedder it is
regressed on Gaussian similarities of the embeddings (kernel ridge regression), without one on words and characters
(ridge regression): on MMLU, words beside the layers of the encoder took away from what those reach alone. Scores of
the rows by regressions that did not see them choose the settings, calibrate the probability (Platt 1999) and say what
each threshold reaches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sluicegate.errors import InsufficientDataError
from sluicegate.extras import fitting
from sluicegate.learning.projection import fit_projection
from sluicegate.learning.similarity import RidgeFit, fit_kernel, fit_ridge, landmarks_of
from sluicegate.routing.calibration.calibration import Calibrator, ece
from sluicegate.routing.config import EscalationTarget
from sluicegate.routing.data import Escalations
from sluicegate.routing.escalation.costquality import cost_quality
from sluicegate.routing.escalation.report import figures
from sluicegate.routing.intent.artifact import write_artifact
from sluicegate.routing.intent.fit import Embed, Progress, silent, stoppable
from sluicegate.routing.intent.head import Head, for_embedding
from sluicegate.routing.intent.lexical import CHARACTERS, WORDS, fit_lexicon, words_of
from sluicegate.routing.intent.training import folds_of

__all__ = ["FittedEscalation", "fit_escalation", "write_escalation"]

Floats = NDArray[np.floating]

GAIN = "gain"
LEAST = 50
"""Rows where exactly one model is right, below which nothing can be learned."""
FEATURES = 60_000
MOST_ROWS = 4000
"""Up to here every row is a landmark, and of more rows so many are."""
LEXICAL_PENALTIES = (1.0, 3.0, 10.0, 30.0)
PENALTIES = (0.5, 1.0, 2.0, 4.0)
SHARPNESS = (0.7, 1.5, 3.0)
EMBED_WORDS = 250
FOLDS = 5
RECOVER = EscalationTarget(recover=0.8)
"""The target where none is given."""
POINTS = 200
"""How many thresholds the card tells of."""


@dataclass(frozen=True, slots=True)
class FittedEscalation:
    """What `write_escalation` writes."""

    head: Head
    card: dict[str, Any]


async def fit_escalation(
    rows: Escalations,
    *,
    embed: Embed | None,
    embedder: dict[str, Any] | None,
    target: EscalationTarget = RECOVER,
    on_progress: Progress = silent,
) -> FittedEscalation:
    """Fit on logged rows. `target` is the card's default; a workflow has its own.

    Raises `ModelError` SG313 when too few rows tell the models apart, the large model is no better, or nothing in the
    requests says which of them need it.
    """
    on_progress = stoppable(on_progress)
    weak, strong = np.array(rows.weak), np.array(rows.strong)
    gain = strong.astype(np.float32) - weak.astype(np.float32)
    _check(gain)
    if embed is None:
        on_progress(0, 2, "words and characters")
        head, held_out = _lexical(rows.prompts, gain)
    else:
        texts = [for_embedding(prompt, EMBED_WORDS) for prompt in rows.prompts]
        vectors = await embed(texts, lambda done, total: on_progress(done, total, "embeddings"))
        on_progress(1, 2, "similarities")
        head, held_out = _similar(vectors, gain)
    needs = strong & ~weak
    slope, intercept = _platt(held_out, needs)
    chance = 1 / (1 + np.exp(-(slope * held_out + intercept)))
    card = {
        "task": "escalate",
        "data": {"train": rows.digests},
        "rows": {"train": len(rows)},
        "embedder": embedder if embed is not None else None,
        "chance": {"slope": slope, "intercept": intercept},
        "target": target.model_dump(exclude_none=True),
        "points": _points(chance, gain),
        "metrics": figures(cost_quality(held_out, weak, strong)) | {"ece": ece(chance, needs)},
    }
    on_progress(2, 2, "done")
    return FittedEscalation(head, card)


def write_escalation(folder: Path, fitted: FittedEscalation) -> str:
    """Write the artifact; returns its hash."""
    return write_artifact(folder, fitted.head, Calibrator(), fitted.card)


def _check(gain: NDArray[np.float32]) -> None:
    told = int((gain != 0).sum())
    if told < LEAST:
        raise InsufficientDataError(
            f"in {told} of {len(gain)} rows exactly one model is right; {LEAST} are needed",
            hint=f"Log {LEAST - told} more rows on which the models differ",
        )
    if gain.mean() <= 0:
        raise InsufficientDataError(
            "the large model is right no more often than the small one; escalation would gain nothing"
        )


def _lexical(prompts: Sequence[str], gain: NDArray[np.float32]) -> tuple[Head, Floats]:
    """A head on words and characters, and the rows' scores by regressions that did not see them."""
    sparse = fitting("scipy.sparse")
    linear = fitting("sklearn.linear_model")
    tokens = [words_of(prompt) for prompt in prompts]
    lexicons = {
        "words": fit_lexicon(tokens, WORDS, most=FEATURES),
        "characters": fit_lexicon(tokens, CHARACTERS, most=FEATURES),
    }
    seen = sparse.hstack([lexicon.matrix(tokens) for lexicon in lexicons.values()], format="csr")
    fold = _folds(gain)

    def fitted(penalty: float, rows: NDArray[np.bool_]) -> Any:
        return linear.Ridge(alpha=penalty, solver="sparse_cg").fit(seen[rows], gain[rows])

    tried: list[tuple[float, float, NDArray[np.float32]]] = []
    for penalty in LEXICAL_PENALTIES:
        scores = np.zeros(len(gain), np.float32)
        for number in range(FOLDS):
            scores[fold == number] = fitted(penalty, fold != number).predict(seen[fold == number])
        tried.append((_closer(scores, gain), penalty, scores))
    _, penalty, held_out = max(tried, key=lambda item: item[0])
    model = fitted(penalty, np.ones(len(gain), bool))
    blocks = np.split(model.coef_.astype(np.float32)[:, None], [len(lexicons["words"])])
    weights = dict(zip(lexicons, blocks, strict=True))
    bias = np.array([model.intercept_], np.float32)
    return Head([GAIN], lexicons, weights, bias, np.zeros((0, 0), np.float32), {}, 0), held_out


def _similar(vectors: NDArray[np.float32], gain: NDArray[np.float32]) -> tuple[Head, Floats]:
    """The same on similarities, with the sharpness whose scores are closest."""
    projection, goal = fit_projection(vectors), gain[:, None]
    seen = projection(vectors)
    landmarks = landmarks_of(seen, (gain + 1).astype(int), MOST_ROWS)

    def fitted(sharpness: float) -> RidgeFit:
        if len(landmarks) == len(goal):  # every row, as it is stored
            return fit_kernel(landmarks, goal, sharpness=sharpness, penalties=PENALTIES, better=_closer)
        return fit_ridge(
            *(seen, landmarks, goal, _folds(gain)), sharpness=sharpness, penalties=PENALTIES, better=_closer
        )

    fits = {sharpness: fitted(sharpness) for sharpness in SHARPNESS}
    sharpness = max(fits, key=lambda one: _closer(fits[one].held_out, goal))
    found = fits[sharpness]
    weights = {"similar": found.weights, "embedding": np.zeros((landmarks.shape[1], 1), np.float32)}
    head = Head([GAIN], {}, weights, found.bias, landmarks, {"similar": sharpness}, EMBED_WORDS, projection)
    return head, found.held_out[:, 0]


def _folds(gain: NDArray[np.float32]) -> NDArray[np.int64]:
    """Folds that share out gains, ties and losses alike."""
    return folds_of((gain + 1).astype(int), FOLDS)


def _closer(scores: Floats, goal: Floats) -> float:
    return -float(((scores - goal) ** 2).mean())


def _platt(score: Floats, needs: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and intercept of the log odds. Raises `ModelError` SG313 where a higher score does not mean more need."""
    linear = fitting("sklearn.linear_model")
    model: Any = linear.LogisticRegression(C=1e3).fit(score[:, None], needs)
    slope = float(model.coef_[0, 0])
    if slope <= 0:
        raise InsufficientDataError(
            "nothing in these requests says which of them need the large model",
            hint="Log more rows, or fit with an embedder",
        )
    return slope, float(model.intercept_[0])


def _points(chance: Floats, gain: NDArray[np.float32]) -> list[dict[str, float]]:
    """What thresholds send and recover, from the strictest to the one that sends everything."""
    order = np.argsort(-chance, kind="stable")
    recovered = np.cumsum(gain[order]) / gain.sum()
    # a threshold sends every row of its value
    ends = np.flatnonzero(np.append(np.diff(chance[order]) != 0, True))
    ends = ends[np.unique(np.linspace(0, len(ends) - 1, POINTS).astype(int))]
    points = [(float(chance[order[end]]), (end + 1) / len(chance), float(recovered[end])) for end in ends]
    return [{"threshold": value, "share": float(share), "recovered": back} for value, share, back in points]
