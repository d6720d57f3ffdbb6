"""The fitted head: one linear classifier over joined views of a text.

A text is seen as words (n-grams), as characters (n-grams inside words) and, where the head was fitted with them, as a
sentence embedding and as that embedding's similarities to landmarks (see `similarity`). Each view has a weight matrix
(features, labels); the sum over views plus a bias are the logits.
Training blends several linear models (see `training`), and a blend of linear models over the same features is again
one linear model, so this is all there is at inference: numpy, no scikit-learn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sluicegate.learning.projection import Projection
from sluicegate.learning.similarity import product, similarities
from sluicegate.routing.intent.lexical import Lexicon, words_of

__all__ = ["Contribution", "Head", "for_embedding"]

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

    def logits(self, text: str, embedding: Floats | None = None) -> Floats:
        """Logits of one text, (labels,). `embedding` is needed exactly when the head has `dimensions`."""
        total = self.bias.astype(np.float32)
        tokens = words_of(text)
        for name, lexicon in self.lexicons.items():
            columns, values = lexicon.row(tokens)
            if len(columns):
                total = total + values @ self.weights[name][columns]
        if embedding is None or not self.dimensions:
            return total
        return total + self._sentence(embedding.astype(np.float32))

    def _sentence(self, embedding: Floats) -> Floats:
        """What the embedding adds to the logits."""
        if self.projection:
            embedding = self.projection(embedding)
        total = product(embedding, self.weights["embedding"])
        cosines = product(embedding, self.landmarks.T)
        for name, sharpness in self.sharpness.items():
            total = total + product(similarities(cosines, sharpness), self.weights[name])
        return total

    def familiarity(self, text: str, embedding: Floats | None = None) -> dict[str, float]:
        """How near the text is to the training rows, by view.

        ``wording``: the share of its words' character 4-grams that stood in more than one training row.
        ``meaning``, with an embedding: the mean cosine of the `NEAREST` landmarks.
        """
        found = {"wording": self.lexicons["characters"].known(words_of(text), 4)}
        if embedding is not None and self.dimensions:
            seen = embedding.astype(np.float32)
            cosines = product(self.projection(seen) if self.projection else seen, self.landmarks.T)
            nearest = min(NEAREST, len(cosines))
            found["meaning"] = float(np.partition(cosines, -nearest)[-nearest:].mean())
        return found

    def logits_of(self, texts: Sequence[str], embeddings: Floats | None = None) -> Floats:
        """Logits of many texts, (texts, labels)."""
        rows = [self.logits(text, None if embeddings is None else embeddings[at]) for at, text in enumerate(texts)]
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
        if embedding is not None and self.dimensions:
            said = self._sentence(embedding.astype(np.float32))
            weight = float(said[column] - (said.mean() if others else 0.0))
            found.append(Contribution("embedding", "the whole sentence", weight))
        return sorted(found, key=lambda item: -abs(item.weight))[:most]
