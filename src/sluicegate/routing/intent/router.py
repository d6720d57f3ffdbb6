"""A fitted router at work: `services.Router` over an artifact."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sluicegate.errors import InsufficientDataError, ModelError
from sluicegate.language import probability_of
from sluicegate.learning.threshold import NEVER
from sluicegate.routing.calibration.likeness import Likeness
from sluicegate.routing.config import Languages, Per
from sluicegate.routing.intent.artifact import Artifact
from sluicegate.routing.intent.head import for_embedding
from sluicegate.services import Classification
from sluicegate.state import LabelScore

__all__ = ["EmbedNow", "FittedRouter"]

EmbedNow = Callable[[Sequence[str]], Awaitable[Sequence[Sequence[float]]]]
"""Embeds texts with the embedder the artifact was fitted with; raises `ModelError` SG312 when it is another one."""

LIKELY = 0.5
"""The probability from which a text counts as one in the languages of the embedder."""


class FittedRouter:
    """Gives a text its label and a calibrated confidence. Implements `services.Router`."""

    def __init__(
        self,
        artifact: Artifact,
        *,
        embed: EmbedNow | None = None,
        threshold: float | None = None,
        per: Per | None = None,
        languages: Languages = "calibrated",
    ) -> None:
        """`threshold` replaces the fitted ones; `per` says which of them serve, in place of what the fit was asked for;
        `languages`, which may be labelled with confidence.

        Raises `ModelError` SG312 when the artifact needs an embedder, SG313 when thresholds per intent are asked of one
        that has none.
        """
        if artifact.head.dimensions and embed is None:
            raise ModelError("SG312", "this router was fitted with embeddings, but no embedder is available")
        self.artifact = artifact
        self._embed = embed
        self._likeness = Likeness.of(artifact.card)
        self._languages = languages
        embedder: dict[str, Any] = artifact.card["embedder"] or {}
        self._embedder_languages: frozenset[str] = frozenset(embedder.get("languages") or ())
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
        """The classification of a text whose embedding is known (None for a lexical head).

        No confidence reaches the threshold of what is unlike the calibration rows; and what is in a language that
        nothing here can read is not called out of scope, which would turn it away.
        """
        head, outside = self.artifact.head, self.artifact.card["out_of_scope"]
        seen = head.seen(vector)
        probabilities = self.artifact.calibrator(head.logits(text, seen)[None])[0]
        labels = self.labels
        order: list[int] = np.argsort(-probabilities, kind="stable").tolist()
        unlike = self._likeness.unlike(text, head.familiarity(text, seen))
        read = unlike != "language" or probability_of(text, self._embedder_languages) >= LIKELY
        if unlike == "language" and read and self._languages == "embedder":
            unlike = ""
        best = next(i for i in order if read or labels[i] != outside)
        return Classification(
            label=labels[best],
            confidence=float(probabilities[best]),
            alternatives=tuple(LabelScore(label=labels[i], confidence=float(probabilities[i])) for i in order),
            threshold=NEVER if unlike else self.threshold_of(labels[best]),
            out_of_scope=labels[best] == outside,
            by="unlike" if unlike else "head",
            artifact=self.artifact.hash,
            unlike=unlike,
        )


def _per_intent(fitted: dict[str, Any]) -> tuple[float, dict[str, float]]:
    """The threshold of the rest, and those that intents have of their own."""
    if "per_intent" not in fitted:
        raise InsufficientDataError(
            "this router has no thresholds per intent", hint="Fit it again: sluicegate router fit"
        )
    family = fitted["per_intent"]
    return float(family["rest"]["value"]), {name: float(each["value"]) for name, each in family["own"].items()}
