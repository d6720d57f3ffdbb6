"""A fitted router at work: `services.Router` over an artifact."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sluicegate.errors import ModelError
from sluicegate.routing.artifact import Artifact, read_artifact
from sluicegate.routing.head import for_embedding
from sluicegate.services import Classification
from sluicegate.state import LabelScore

__all__ = ["EmbedNow", "FittedRouter", "load_router"]

EmbedNow = Callable[[Sequence[str]], Awaitable[Sequence[Sequence[float]]]]
"""Embeds texts with the embedder the artifact was fitted with; raises `ModelError` SG312 when it is another one."""


class FittedRouter:
    """Gives a text its label and a calibrated confidence. Implements `services.Router`."""

    def __init__(self, artifact: Artifact, *, embed: EmbedNow | None = None, threshold: float | None = None) -> None:
        """`threshold` replaces the fitted one. Raises `ModelError` SG312 when the artifact needs an embedder."""
        if artifact.head.dimensions and embed is None:
            raise ModelError("SG312", "this router was fitted with embeddings, and there is no embedder to ask")
        self.artifact = artifact
        self._embed = embed
        self._threshold = float(artifact.card["threshold"]["value"]) if threshold is None else threshold

    @property
    def labels(self) -> list[str]:
        return self.artifact.head.labels

    @property
    def threshold(self) -> float:
        return self._threshold

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
                f"the embedder gives {len(vector)} dimensions, the router was fitted with {head.dimensions}",
                mend="Name the embedder it was fitted with, or fit it again",
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
            threshold=self._threshold,
            out_of_scope=best == self.artifact.card["out_of_scope"],
            by="head",
            artifact=self.artifact.hash,
        )


def load_router(folder: Path, *, embed: EmbedNow | None = None, threshold: float | None = None) -> FittedRouter:
    """Read an artifact and make its router. Raises `ModelError` SG310, SG311, SG312."""
    return FittedRouter(read_artifact(folder), embed=embed, threshold=threshold)
