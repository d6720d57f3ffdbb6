"""Whether a request needs the large model: a fitted escalation at work (`fit` says how it is learned).

The score of a request is what the large model is expected to gain on it. It orders requests; a logistic curve makes it
the probability that the large model is right where the small one is not. Where a workflow's threshold lies follows from
its target, by what thresholds reach on rows that the regression did not see: the artifact's card has them all, so that
another target needs no new fit.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sluicegate.errors import ModelError
from sluicegate.learning.artifact import FIT, edited, read_card
from sluicegate.learning.threshold import NEVER
from sluicegate.routing.config import EscalationTarget
from sluicegate.routing.intent.artifact import read_head
from sluicegate.routing.intent.head import Contribution, Head, for_embedding
from sluicegate.routing.intent.router import EmbedNow
from sluicegate.services import Classification, Escalation, Router

__all__ = ["EscalatingRouter", "EscalationRouter", "load_escalation", "threshold_for"]

ESCALATION_FIT = f"{FIT} WORKFLOW --task escalate"


class EscalationRouter:
    """Gives a request the probability that it needs the large model."""

    def __init__(
        self, head: Head, card: dict[str, Any], *, embed: EmbedNow | None, target: EscalationTarget | None = None
    ) -> None:
        """`target` replaces the one that the artifact was fitted for. Raises `ModelError` SG312 when it needs an
        embedder."""
        if head.dimensions and embed is None:
            raise ModelError("SG312", "this router was fitted with embeddings, but no embedder is available")
        self.head = head
        self.card = card
        self.threshold = threshold_for(card, target or EscalationTarget(**card["target"]))
        self._embed = embed

    async def score(self, prompt: str) -> float:
        """The probability that the large model is right and the small one is not."""
        return self._chance(float(self.head.logits(prompt, self.head.seen(await self._vector(prompt)))[0]))

    async def evidence(self, prompt: str) -> list[Contribution]:
        """The features that contributed most to the score."""
        return self.head.evidence(prompt, self.head.labels[0], await self._vector(prompt))

    async def decide(self, prompt: str) -> Escalation:
        return Escalation(await self.score(prompt), self.threshold, str(self.card["hash"]))

    async def _vector(self, prompt: str) -> Any:
        if not self.head.dimensions or not self._embed:
            return None
        vectors = await self._embed([for_embedding(prompt, self.head.embed_words)])
        return np.asarray(vectors[0], np.float32)

    def _chance(self, gain: float) -> float:
        score = float(self.card["chance"]["slope"]) * gain + float(self.card["chance"]["intercept"])
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, score))))


class EscalatingRouter:
    """`services.Router` that also says whether a request needs the large model."""

    def __init__(self, router: Router, escalation: EscalationRouter) -> None:
        self._router, self._escalation = router, escalation

    async def classify(self, text: str) -> Classification:
        found = await self._router.classify(text)
        return replace(found, escalation=await self._escalation.decide(text))


def load_escalation(
    folder: Path,
    *,
    embed_like: Callable[[dict[str, Any]], EmbedNow],
    target: EscalationTarget | None = None,
    fit: str = ESCALATION_FIT,
) -> EscalationRouter:
    """The escalation in `folder`. `embed_like` gives a call of the embedder that a card describes.

    Raises `ModelError` SG310, SG311, SG312 as `read_card` does.
    """
    card = read_card(folder, task="escalate", fit=fit)
    if "chance" not in card:
        raise edited(folder, "it has no calibrated probability, as those of 0.1.0")
    embed = embed_like(card["embedder"]) if card["embedder"] else None
    try:
        return EscalationRouter(read_head(folder, card), card, embed=embed, target=target)
    except (ValueError, KeyError, TypeError) as error:
        raise edited(folder, "its card cannot be read") from error


def threshold_for(card: dict[str, Any], target: EscalationTarget) -> float:
    """The highest threshold that recovers the wanted share of the gain, or the lowest that sends no more than the
    wanted share of requests, on the rows that the regression did not see."""
    points: list[tuple[float, float, float]] = [(p["threshold"], p["share"], p["recovered"]) for p in card["points"]]
    if target.recover is not None:
        return next(value for value, _, recovered in points if recovered >= target.recover)
    assert target.share is not None
    affordable = [value for value, share, _ in points if share <= target.share]
    return affordable[-1] if affordable else NEVER
