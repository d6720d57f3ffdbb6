"""Words and characters of a text as hashed features.

Words, pairs of words, and character n-grams inside words are counted into `COLUMNS` columns by their CRC-32 (feature
hashing, Weinberger et al. 2009), so the model holds no list of what its training rows said. A column's value is
``1 + ln count``; words and characters are each scaled to length 1.
"""

import itertools
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["COLUMNS", "ngrams"]

COLUMNS = 1 << 18
SHORTEST, LONGEST = 2, 5
"""Characters in an n-gram; the spaces at both ends of a word count."""

_TOKEN = re.compile(r"\w+|[^\w\s]")
_DIGITS = re.compile(r"\d+")


def ngrams(text: str) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Columns, each once, and their values. `text` is folded (see `folding`); its numbers are all one word."""
    words = _TOKEN.findall(_DIGITS.sub("0", text))
    by_word = Counter([_column(f"w{word}") for word in words])
    by_word.update(_column(f"p{first} {second}") for first, second in itertools.pairwise(words))
    by_character = Counter(column for word in words for column in _characters(word))
    counts = by_word, by_character
    columns = np.fromiter((column for count in counts for column in count), np.int32)
    values = np.concatenate([_scaled(list(count.values())) for count in counts])
    return columns, values


def _scaled(counts: Sequence[int]) -> NDArray[np.float32]:
    values = 1 + np.log(np.array(counts, np.float32))
    return (values / max(float(np.sqrt(values @ values)), 1e-12)).astype(np.float32)


@lru_cache(maxsize=50_000)
def _characters(word: str) -> tuple[int, ...]:
    padded = f" {word} "
    return tuple(
        _column(f"c{padded[start : start + size]}")
        for size in range(SHORTEST, LONGEST + 1)
        for start in range(len(padded) - size + 1)
    )


def _column(gram: str) -> int:
    return zlib.crc32(gram.encode("utf-8", "surrogatepass")) % COLUMNS
