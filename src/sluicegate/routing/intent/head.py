"""The fitted head: one linear classifier over joined views of a text.

A text is seen as words (n-grams), as characters (n-grams inside words) and, where the head was fitted with them, as a
sentence embedding and as that embedding's similarities to landmarks (see `similarity`). Each view has a weight matrix
(features, labels); the sum over views plus a bias are the logits.
Training blends several linear models (see `training`), and a blend of linear models over the same features is again
one linear model, so this is all there is at inference: numpy, no scikit-learn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sluicegate.learning.projection import Projection
from sluicegate.learning.similarity import product, similarities
from sluicegate.routing.intent.lexical import Lexicon, words_of

__all__ = ["Contribution", "Head", "SeenEmbedding", "for_embedding"]

Floats = NDArray[np.floating]
NEAREST = 5


def for_embedding(text: str, words: int) -> str:
    """What is embedded of a text: its first `words` words, which bounds the time of a request."""
    parts = text.split()
    return " ".join(parts[:words]) if len(parts) > words else text


@dataclass(frozen=True, slots=True)
class Contribution:
    """The contribution of a feature to a label (logits)."""

    view: str
    feature: str
    weight: float


class SeenEmbedding(NamedTuple):
    """An embedding as a head sees it."""

    vector: Floats
    cosines: Floats
    """To each landmark, (landmarks)."""


@dataclass(frozen=True, slots=True)
class Head:
    """Views with their weights; `labels` in column order."""

    labels: list[str]
    lexicons: dict[str, Lexicon]
    """Lexical views by name."""
    weights: dict[str, NDArray[np.float32]]
    """Per view: (features, labels). The view ``embedding`` has a row per dimension, a view of similarities one per
    landmark."""
    bias: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    """Embeddings as the head sees them, (landmarks, dimensions); no rows in a lexical head."""
    sharpness: dict[str, float]
    """Views of similarities, with their gamma."""
    embed_words: int
    """How many words of a text are embedded; 0 for a head without embeddings."""
    projection: Projection | None = None
    """What is done to an embedding first."""

    @property
    def dimensions(self) -> int:
        """Size of the embedding it was fitted with; 0 without."""
        return len(self.projection.mean) if self.projection else self.landmarks.shape[1]

    def seen(self, embedding: Floats | None) -> SeenEmbedding | None:
        """What logits and familiarity are made of; None without an embedding, and for a head that takes none."""
        if embedding is None or not self.dimensions:
            return None
        vector = embedding.astype(np.float32)
        if self.projection:
            vector = self.projection(vector)
        return SeenEmbedding(vector, product(vector, self.landmarks.T))

    def logits(self, text: str, seen: SeenEmbedding | None = None) -> Floats:
        """Logits of one text, (labels,). `seen` is needed exactly when the head has `dimensions`."""
        total = self.bias.astype(np.float32)
        tokens = words_of(text)
        for name, lexicon in self.lexicons.items():
            columns, values = lexicon.row(tokens)
            if len(columns):
                total = total + values @ self.weights[name][columns]
        return total + self._sentence(seen) if seen else total

    def _sentence(self, seen: SeenEmbedding) -> Floats:
        """What the embedding adds to the logits."""
        total = product(seen.vector, self.weights["embedding"])
        for name, sharpness in self.sharpness.items():
            total = total + product(similarities(seen.cosines, sharpness), self.weights[name])
        return total

    def familiarity(self, text: str, seen: SeenEmbedding | None = None) -> dict[str, float]:
        """How near the text is to the training rows, by view.

        ``wording``: the share of its words' character 4-grams that stood in more than one training row.
        ``meaning``, of a head with `dimensions`: the mean cosine of the `NEAREST` landmarks.
        """
        found = {"wording": self.lexicons["characters"].known(words_of(text), 4)}
        if seen:
            nearest = min(NEAREST, len(seen.cosines))
            found["meaning"] = float(np.partition(seen.cosines, -nearest)[-nearest:].mean())
        return found

    def logits_of(self, texts: Sequence[str], embeddings: Floats | None = None) -> Floats:
        """Logits of many texts, (texts, labels)."""
        rows = [
            self.logits(text, self.seen(None if embeddings is None else embeddings[at]))
            for at, text in enumerate(texts)
        ]
        return np.stack(rows) if rows else np.zeros((0, len(self.labels)), np.float32)

    def evidence(self, text: str, label: str, embedding: Floats | None = None, *, most: int = 10) -> list[Contribution]:
        """The features that contributed most for or against `label`, compared with the mean of all labels where
        there are several."""
        column, others = self.labels.index(label), len(self.labels) > 1
        tokens = words_of(text)
        found: list[Contribution] = []
        for name, lexicon in self.lexicons.items():
            columns, values = lexicon.row(tokens)
            block = self.weights[name][columns]
            said = values * (block[:, column] - (block.mean(axis=1) if others else 0.0))
            at: list[int] = columns.tolist()
            found += [Contribution(name, lexicon.entries[i], float(much)) for i, much in zip(at, said, strict=True)]
        if seen := self.seen(embedding):
            said = self._sentence(seen)
            weight = float(said[column] - (said.mean() if others else 0.0))
            found.append(Contribution("embedding", "the whole sentence", weight))
        return sorted(found, key=lambda item: -abs(item.weight))[:most]
