"""What was embedded a moment ago is not embedded again."""

from collections.abc import Sequence

from sluicegate.models.embeddings.embedding_lru import EmbeddingLru

asked: list[list[str]] = []


async def embed(texts: Sequence[str]) -> list[list[float]]:
    asked.append(list(texts))
    return [[float(len(text)), 0.5] for text in texts]


async def test_each_text_is_embedded_once_and_order_is_kept() -> None:
    asked.clear()
    recent = EmbeddingLru()
    assert await recent.vectors(["aa", "b", "aa"], embed) == [[2.0, 0.5], [1.0, 0.5], [2.0, 0.5]]
    assert await recent.vectors(["b", "ccc"], embed) == [[1.0, 0.5], [3.0, 0.5]]
    assert await recent.vectors(["ccc", "aa"], embed) == [[3.0, 0.5], [2.0, 0.5]]
    assert asked == [["aa", "b"], ["ccc"]]


async def test_the_oldest_are_forgotten_even_within_one_call() -> None:
    asked.clear()
    recent = EmbeddingLru(most=4)  # two vectors
    assert await recent.vectors(["a", "bb", "ccc"], embed) == [[1.0, 0.5], [2.0, 0.5], [3.0, 0.5]]
    await recent.vectors(["bb"], embed)
    await recent.vectors(["dddd"], embed)
    await recent.vectors(["bb", "ccc"], embed)
    assert asked == [["a", "bb", "ccc"], ["dddd"], ["ccc"]]
