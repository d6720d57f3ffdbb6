"""An in-memory LRU cache of a local model's embeddings: the sentences of a few documents are compared repeatedly.

For models whose weights are known by a digest: a server without one may change a model under its name. Nothing is
written to disk, since texts include requests.
"""

from array import array
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

__all__ = ["EmbeddingLru"]

MOST = 1_500_000
"""Capacity in numbers, 12 MB: 3,900 vectors of 384."""


class EmbeddingLru:
    """One model's latest vectors by text."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._numbers = 0
        self._known: OrderedDict[str, array[float]] = OrderedDict()

    async def vectors(
        self, texts: Sequence[str], embed: Callable[[Sequence[str]], Awaitable[Sequence[Sequence[float]]]]
    ) -> Sequence[Sequence[float]]:
        """A vector per text, read-only; `embed` is called for the missing ones, each once."""
        found = {text: known for text in texts if (known := self._known.get(text)) is not None}
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        if missing:
            found |= {text: array("d", v) for text, v in zip(missing, await embed(missing), strict=True)}
        for text in found:
            self._numbers += 0 if text in self._known else len(found[text])
            self._known[text] = found[text]
            self._known.move_to_end(text)
        while self._numbers > self._most:
            self._numbers -= len(self._known.popitem(last=False)[1])
        # as memory: a list of 384 numbers takes longer to make than to compare
        return [memoryview(found[text]).toreadonly() for text in texts]
