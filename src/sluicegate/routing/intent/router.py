"""A fitted router at work: `services.Router` over an artifact."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sluicegate.errors import InsufficientDataError, ModelError
from sluicegate.routing.config import Per
from sluicegate.routing.intent.artifact import Artifact
from sluicegate.routing.intent.head import for_embedding
from sluicegate.services import Classification
from sluicegate.state import LabelScore

__all__ = ["EmbedNow", "FittedRouter"]

EmbedNow = Callable[[Sequence[str]], Awaitable[Sequence[Sequence[float]]]]
"""Embeds texts with the embedder the artifact was fitted with; raises `ModelError` SG312 when it is another one."""


class FittedRouter:
    """Gives a text its label and a calibrated confidence. Implements `services.Router`."""

    def __init__(
        self,
        artifact: Artifact,
        *,
        embed: EmbedNow | None = None,
        threshold: float | None = None,
        per: Per | None = None,
    ) -> None:
        """`threshold` replaces the fitted ones; `per` says which of them serve, in place of what the fit was asked for.

        Raises `ModelError` SG312 when the artifact needs an embedder, SG313 when thresholds per intent are asked of one
        that has none.
        """
        if artifact.head.dimensions and embed is None:
            raise ModelError("SG312", "this router was fitted with embeddings, but no embedder is available")
        self.artifact = artifact
        self._embed = embed
        fitted = artifact.card["threshold"]
        self.per: Per = per or artifact.card["target"].get("per", "all")
        self._threshold = float(fitted["value"]) if threshold is None else threshold
        self._own: dict[str, float] = {}
        if self.per == "intent" and threshold is None:
            self._threshold, self._own = _per_intent(fitted)

    @property
    def labels(self) -> list[str]:
        return self.artifact.head.labels

    @property
    def threshold(self) -> float:
        """The threshold of every label that has none of its own."""
        return self._threshold

    def threshold_of(self, label: str) -> float:
        """The confidence from which `label` may be trusted."""
        return self._own.get(label, self._threshold)

    def has_own(self, label: str) -> bool:
        """Whether `label` has a threshold that was proved for it alone."""
        return label in self._own

    async def vector(self, text: str) -> NDArray[np.float32] | None:
        """The embedding this head sees of `text`; None for a lexical one. Raises `ModelError`."""
        head = self.artifact.head
        if not head.dimensions or self._embed is None:
            return None
        vectors = await self._embed([for_embedding(text, head.embed_words)])
        vector = np.asarray(vectors[0], np.float32)
        if len(vector) != head.dimensions:
            raise ModelError(
                "SG312",
                f"the embedder returns {len(vector)} dimensions; the router was fitted with {head.dimensions}",
                hint="Use the embedder it was fitted with, or fit it again",
            )
        return vector

    async def classify(self, text: str) -> Classification:
        """Raises `ModelError` when the text cannot be embedded."""
        return self.decide(text, await self.vector(text))

    def decide(self, text: str, vector: NDArray[np.float32] | None) -> Classification:
        """The classification of a text whose embedding is known (None for a lexical head)."""
        probabilities = self.artifact.calibrator(self.artifact.head.logits(text, vector)[None])[0]
        labels = self.labels
        order: list[int] = np.argsort(-probabilities, kind="stable").tolist()
        best = labels[order[0]]
        return Classification(
            label=best,
            confidence=float(probabilities[order[0]]),
            alternatives=tuple(LabelScore(label=labels[i], confidence=float(probabilities[i])) for i in order),
            threshold=self.threshold_of(best),
            out_of_scope=best == self.artifact.card["out_of_scope"],
            by="head",
            artifact=self.artifact.hash,
        )


def _per_intent(fitted: dict[str, Any]) -> tuple[float, dict[str, float]]:
    """The threshold of the rest, and those that intents have of their own."""
    if "per_intent" not in fitted:
        raise InsufficientDataError(
            "this router has no thresholds per intent", hint="Fit it again: sluicegate router fit"
        )
    family = fitted["per_intent"]
    return float(family["rest"]["value"]), {name: float(each["value"]) for name, each in family["own"].items()}
