"""What was embedded a moment ago is not embedded again."""

from collections.abc import Sequence

import numpy as np
import pytest

from sluicegate.models.embeddings.embedding_lru import EmbeddingLru

asked: list[list[str]] = []


async def embed(texts: Sequence[str]) -> list[list[float]]:
    asked.append(list(texts))
    return [[float(len(text)), 0.5] for text in texts]


async def vectors(recent: EmbeddingLru, texts: Sequence[str]) -> list[list[float]]:
    return [list(vector) for vector in await recent.vectors(texts, embed)]


async def test_a_vector_cannot_be_changed_by_who_gets_it() -> None:
    (vector,) = await EmbeddingLru().vectors(["aa"], embed)
    shared = np.asarray(vector)
    with pytest.raises(ValueError, match="read-only"):
        shared /= 2.0


async def test_each_text_is_embedded_once_and_order_is_kept() -> None:
    asked.clear()
    recent = EmbeddingLru()
    assert await vectors(recent, ["aa", "b", "aa"]) == [[2.0, 0.5], [1.0, 0.5], [2.0, 0.5]]
    assert await vectors(recent, ["b", "ccc"]) == [[1.0, 0.5], [3.0, 0.5]]
    assert await vectors(recent, ["ccc", "aa"]) == [[3.0, 0.5], [2.0, 0.5]]
    assert asked == [["aa", "b"], ["ccc"]]


async def test_the_oldest_are_forgotten_even_within_one_call() -> None:
    asked.clear()
    recent = EmbeddingLru(most=4)  # two vectors
    assert await vectors(recent, ["a", "bb", "ccc"]) == [[1.0, 0.5], [2.0, 0.5], [3.0, 0.5]]
    await vectors(recent, ["bb"])
    await vectors(recent, ["dddd"])
    await vectors(recent, ["bb", "ccc"])
    assert asked == [["a", "bb", "ccc"], ["dddd"], ["ccc"]]
