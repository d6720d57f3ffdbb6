"""Which requests need the large model: learned from logs that say whether each model was right.

The target is what the large model gains: ``strong_correct - weak_correct``, in {-1, 0, 1}. It is regressed on words
and characters (ridge regression) and, with an embedder, on similarities to landmarks; the two are averaged. The score
orders requests; the threshold is where a wanted share of the gap is recovered on rows that the regressions did not
see.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sluicegate.errors import InsufficientDataError, ModelError
from sluicegate.extras import fitting
from sluicegate.learning.artifact import read_card
from sluicegate.learning.similarity import fit_ridge, landmarks_of
from sluicegate.routing.calibration.calibration import Calibrator
from sluicegate.routing.data import Escalations
from sluicegate.routing.escalation.costquality import CostQuality, cost_quality
from sluicegate.routing.intent.artifact import read_head, write_artifact
from sluicegate.routing.intent.fit import Embed, Progress, silent, stoppable
from sluicegate.routing.intent.head import Head, for_embedding
from sluicegate.routing.intent.lexical import CHARACTERS, WORDS, fit_lexicon, words_of
from sluicegate.routing.intent.router import EmbedNow
from sluicegate.routing.intent.training import folds_of

__all__ = ["EscalationRouter", "fit_escalation", "load_escalation", "report_escalation", "write_escalation"]

GAIN = "gain"
LEAST = 50
"""Rows, and rows where exactly one model is right, below which nothing can be learned."""
FEATURES = 60_000
LANDMARKS = 2000
LEXICAL_PENALTIES = (1.0, 3.0, 10.0, 30.0)
PENALTIES = (1.0, 3.0, 10.0, 30.0)
SHARPNESS = 1.0
EMBED_WORDS = 250
FOLDS = 5


@dataclass(frozen=True, slots=True)
class FittedEscalation:
    """What `write_escalation` writes."""

    head: Head
    card: dict[str, Any]


class EscalationRouter:
    """Scores how much a request gains by the large model."""

    def __init__(self, head: Head, card: dict[str, Any], *, embed: EmbedNow | None) -> None:
        if head.dimensions and embed is None:
            raise ModelError("SG312", "this router was fitted with embeddings, but no embedder is available")
        self.head = head
        self.card = card
        self._embed = embed

    async def score(self, prompt: str) -> float:
        """The expected gain, about in [-1, 1]; from `card["threshold"]` on, the large model is worth its price."""
        vector = None
        if self.head.dimensions and self._embed:
            vectors = await self._embed([for_embedding(prompt, self.head.embed_words)])
            vector = np.asarray(vectors[0], np.float32)
        return float(self.head.logits(prompt, vector)[0])

    async def needs_large(self, prompt: str) -> bool:
        """Whether to send the request to the large model."""
        return await self.score(prompt) >= float(self.card["threshold"])


async def fit_escalation(
    rows: Escalations,
    *,
    embed: Embed | None,
    embedder: dict[str, Any] | None,
    recover: float = 0.8,
    on_progress: Progress = silent,
) -> FittedEscalation:
    """Fit on logged rows. `recover` is the share of the quality gap at which the threshold is set.

    Raises `ModelError` SG313 when too few rows tell the models apart, or the large model is no better.
    """
    on_progress = stoppable(on_progress)
    weak, strong = np.array(rows.weak), np.array(rows.strong)
    gain = strong.astype(np.float32) - weak.astype(np.float32)
    told = int((gain != 0).sum())
    if told < LEAST:
        raise InsufficientDataError(
            f"in {told} of {len(rows)} rows exactly one model is right; {LEAST} are needed",
            hint=f"Log {LEAST - told} more rows on which the models differ",
        )
    if gain.mean() <= 0:
        raise InsufficientDataError(
            "the large model is right no more often than the small one; escalation would gain nothing"
        )
    # folds that share out gains, ties and losses alike
    fold = folds_of((gain + 1).astype(int), FOLDS)
    on_progress(0, 3, "words and characters")
    tokens = [words_of(prompt) for prompt in rows.prompts]
    lexicons = {
        "words": fit_lexicon(tokens, WORDS, most=FEATURES),
        "characters": fit_lexicon(tokens, CHARACTERS, most=FEATURES),
    }
    lexical, lexical_bias, held_out = _lexical(lexicons, tokens, gain, fold)
    weights = dict(zip(lexicons, np.split(lexical, [len(lexicons["words"])]), strict=True))
    head = Head([GAIN], lexicons, weights, lexical_bias, np.zeros((0, 0), np.float32), {}, 0)
    if embed is not None:
        texts = [for_embedding(prompt, EMBED_WORDS) for prompt in rows.prompts]
        vectors = await embed(texts, lambda done, total: on_progress(done, total, "embeddings"))
        on_progress(2, 3, "similarities")
        landmarks = landmarks_of(vectors, (gain + 1).astype(int), LANDMARKS)
        found = fit_ridge(
            vectors, landmarks, gain[:, None], fold, sharpness=SHARPNESS, penalties=PENALTIES, better=_closer
        )
        held_out = (held_out + found.held_out[:, 0]) * np.float32(0.5)
        weights = {name: block * np.float32(0.5) for name, block in weights.items()}
        weights["similar"] = found.weights * np.float32(0.5)
        weights["embedding"] = np.zeros((vectors.shape[1], 1), dtype=np.float32)
        bias = (lexical_bias + found.bias) * np.float32(0.5)
        head = Head([GAIN], lexicons, weights, bias, landmarks, {"similar": SHARPNESS}, EMBED_WORDS)
    curve = cost_quality(held_out, weak, strong)
    card = {
        "task": "escalate",
        "data": {"train": rows.digests},
        "rows": {"train": len(rows)},
        "embedder": embedder if embed is not None else None,
        "recover": recover,
        "threshold": _threshold(held_out, weak, strong, recover),
        "metrics": _figures(curve),
    }
    on_progress(3, 3, "done")
    return FittedEscalation(head, card)


def write_escalation(folder: Path, fitted: FittedEscalation) -> str:
    """Write the artifact; returns its hash."""
    return write_artifact(folder, fitted.head, Calibrator(), fitted.card)


def load_escalation(folder: Path, *, embed: EmbedNow | None) -> EscalationRouter:
    """Raises `ModelError` SG310, SG311, SG312 as `read_card` does."""
    card = read_card(folder, task="escalate")
    return EscalationRouter(read_head(folder, card), card, embed=embed)


async def report_escalation(
    router: EscalationRouter, rows: Escalations, *, on_progress: Progress = silent
) -> dict[str, Any]:
    """Score every row and draw the cost-quality curve: `apgr`, `cpt50`, `cpt80` (shares), and the points."""
    scores: list[float] = []
    for index, prompt in enumerate(rows.prompts):
        scores.append(await router.score(prompt))
        on_progress(index + 1, len(rows), "rows")
    score, weak, strong = np.array(scores), np.array(rows.weak), np.array(rows.strong)
    sent = score >= float(router.card["threshold"])
    return {
        "rows": len(rows),
        **_figures(cost_quality(score, weak, strong)),
        "threshold": float(router.card["threshold"]),
        "sent": float(sent.mean()),
        "accuracy": float(np.where(sent, strong, weak).mean()),
        "artifact": router.card["hash"],
    }


def _figures(curve: CostQuality) -> dict[str, Any]:
    return {
        "apgr": curve.apgr,
        "cpt50": curve.cpt50,
        "cpt80": curve.cpt80,
        "weak_accuracy": curve.weak,
        "strong_accuracy": curve.strong,
        "curve": [list(point) for point in curve.points],
    }


def _lexical(
    lexicons: Any, tokens: Sequence[Sequence[str]], gain: NDArray[np.float32], fold: NDArray[np.integer]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Weights over all n-grams (features, 1), bias (1), held-out scores (rows)."""
    sparse = fitting("scipy.sparse")
    linear = fitting("sklearn.linear_model")
    seen = sparse.hstack([lexicon.matrix(tokens) for lexicon in lexicons.values()], format="csr")

    def fitted(penalty: float, rows: NDArray[np.bool_]) -> Any:
        return linear.Ridge(alpha=penalty, solver="sparse_cg").fit(seen[rows], gain[rows])

    tried: list[tuple[float, float, NDArray[np.float32]]] = []
    for penalty in LEXICAL_PENALTIES:
        scores = np.zeros(len(gain), np.float32)
        for number in range(int(fold.max()) + 1):
            scores[fold == number] = fitted(penalty, fold != number).predict(seen[fold == number])
        tried.append((float(((scores - gain) ** 2).mean()), penalty, scores))
    _, penalty, held_out = min(tried, key=lambda item: item[0])
    model = fitted(penalty, np.ones(len(gain), bool))
    return model.coef_.astype(np.float32)[:, None], np.array([model.intercept_], np.float32), held_out


def _closer(scores: NDArray[np.float32], goal: NDArray[np.float32]) -> float:
    return -float(((scores - goal) ** 2).mean())


def _threshold(score: NDArray[np.float32], weak: Any, strong: Any, recover: float) -> float:
    """The highest score from which sending recovers the wanted share of the gap."""
    order = np.argsort(-score, kind="stable")
    recovered = np.cumsum(strong[order].astype(float) - weak[order].astype(float)) / (strong.sum() - weak.sum())
    return float(score[order][int(np.argmax(recovered >= recover))])
