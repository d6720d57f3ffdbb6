"""A fitted reviewer of drafts at work: a router's head that tells proper sentences from improper ones.

A draft is as improper as its worst sentence, so one bad sentence in a long draft counts. It passes when the calibrated
probability that it is proper exceeds the fitted threshold. The reviewer reads the draft, not its sources: whether they
say so is for the guard `grounded`.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sluicegate.routing.intent.artifact import read_artifact
from sluicegate.routing.intent.head import for_embedding
from sluicegate.routing.intent.router import EmbedNow
from sluicegate.segmentation import sentences

__all__ = ["FIT", "IMPROPER", "PROPER", "TASK", "WORDS", "HeadReviewer", "parts_of", "worst", "worst_of"]

TASK = "review"
FIT = "sluicegate guard fit slm-review"
IMPROPER, PROPER = "improper", "proper"
WORDS = 100
"""Words of a sentence that are embedded."""

Floats = NDArray[np.floating]
_MARKERS = re.compile(r"\s*\[\d[\d\s,;–-]*\]")


def parts_of(texts: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """The sentences of all texts, without citation markers, and the text of each."""
    parts: list[str] = []
    owners: list[int] = []
    for at, text in enumerate(texts):
        own = sentences(_MARKERS.sub("", text)) or [text]
        parts += own
        owners += [at] * len(own)
    return parts, np.array(owners, np.int64)


def worst_of(logits: Floats, owners: NDArray[np.int64]) -> NDArray[np.int64]:
    """The index of each text's least proper sentence."""
    order = np.lexsort((logits[:, 1] - logits[:, 0], owners))
    return order[np.unique(owners[order], return_index=True)[1]]


def worst(logits: Floats, owners: NDArray[np.int64]) -> Floats:
    """The logits of each text's least proper sentence."""
    return logits[worst_of(logits, owners)]


class HeadReviewer:
    """Judges drafts: the review of the guard `slm-review` with ``engine: head``."""

    def __init__(self, folder: Path, embed_like: Callable[[str], EmbedNow]) -> None:
        """`embed_like` gives the embedding call for a fingerprint. Raises `ModelError` SG310 to SG312."""
        self._artifact = read_artifact(folder, task=TASK, fit=FIT)
        embedder = self._artifact.card["embedder"]
        self._embed: EmbedNow | None = embed_like(embedder["fingerprint"]) if embedder else None
        self.threshold = float(self._artifact.card["threshold"]["value"])

    async def __call__(self, _question: str, text: str) -> bool:
        return await self.proper(text) > self.threshold

    async def proper(self, text: str) -> float:
        """The calibrated probability that a draft is proper. Raises `ModelError` when it cannot be embedded."""
        parts, owners = parts_of([text])
        vectors = None
        if self._embed is not None:
            vectors = np.asarray(await self._embed([for_embedding(part, WORDS) for part in parts]), np.float32)
        logits = self._artifact.head.logits_of(parts, vectors)
        return float(self._artifact.calibrator(worst(logits, owners))[0, 1])
