"""Embeddings of texts longer than the embedder reads: the mean of the parts, so that nothing is silently truncated."""

import math
import unicodedata
from collections.abc import Sequence

__all__ = ["MOST_CHARACTERS", "WINDOW_CHARACTERS", "composed", "halves", "mean", "unit"]

WINDOW_CHARACTERS = 500
"""A text this short has at most 510 tokens, whatever its content and the encoder's prefix."""

MOST_CHARACTERS = 16_000
"""Characters of a text that count for its embedding."""


def composed(text: str, prefix: str) -> str:
    """The text in compatibility form (NFKC) and on one line, where the encoder is one that wants a prefix: those read
    SentencePiece, whose vocabulary knows no other form. BERT's tokenizer does its own normalisation."""
    return " ".join(unicodedata.normalize("NFKC", text).split()) if prefix else text


def halves(text: str) -> tuple[str, str]:
    """Two parts of `text`, divided at a space near its middle when there is one."""
    middle = len(text) // 2
    space = text.rfind(" ", max(0, middle - 100), middle)
    cut = space if space > 0 else middle
    return text[:cut], text[cut:]


def mean(vectors: Sequence[Sequence[float]], sizes: Sequence[int]) -> list[float]:
    """The unit-length mean of unit-length vectors, weighted by how much text each stands for."""
    if len(vectors) == 1:
        return list(vectors[0])
    summed = [sum(x * size for x, size in zip(column, sizes, strict=True)) for column in zip(*vectors, strict=True)]
    return unit(summed)


def unit(vector: Sequence[float]) -> list[float]:
    """The vector at unit length; the zero vector is unchanged."""
    norm = math.sqrt(sum(x * x for x in vector)) or 1.0
    return [x / norm for x in vector]
