"""Words and characters as features: n-gram counts, weighted by rarity, of unit length per view.

A `Lexicon` is one view: word n-grams or character n-grams inside words. A feature's value is
``(1 + ln count) * idf`` with ``idf = ln((1 + rows) / (1 + rows with it)) + 1``, and a row is scaled to length 1 (the
``ltc`` weighting of Manning et al. 2008, section 6.4, with smoothed idf). A lexicon keeps the n-grams themselves, not
hashes of them, so that an explanation can name the contributing words.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from sluicegate.extras import fitting

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["CHARACTERS", "WORDS", "Grams", "Lexicon", "fit_lexicon", "words_of"]

TOKEN = re.compile(r"\w+(?:['’]\w+)?|[^\w\s]")
REMEMBERED = 50_000
"""Words whose character n-grams are kept at hand."""


@dataclass(frozen=True, slots=True)
class Grams:
    """Which n-grams a view counts."""

    kind: Literal["word", "char"]
    shortest: int
    longest: int
    least_rows: int = 2
    """An n-gram in fewer rows than this is left out."""


WORDS = Grams("word", 1, 2)
CHARACTERS = Grams("char", 2, 5)


def words_of(text: str) -> list[str]:
    """Words and punctuation marks, in compatibility form and lower case."""
    return TOKEN.findall(unicodedata.normalize("NFKC", text).lower())


@dataclass(slots=True)
class Lexicon:
    """One view's n-grams, in column order, with their idf."""

    grams: Grams
    entries: list[str]
    idf: NDArray[np.float32]
    _column: dict[str, int] = field(init=False, repr=False)
    _remembered: dict[str, list[int]] = field(init=False, repr=False, default_factory=dict[str, list[int]])

    def __post_init__(self) -> None:
        self._column = {entry: column for column, entry in enumerate(self.entries)}

    def __len__(self) -> int:
        return len(self.entries)

    def row(self, tokens: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Columns and values of one text, given as its words; both are empty when none of its n-grams is known."""
        counts = Counter(self._columns(tokens))
        columns = np.fromiter(counts.keys(), np.int32, len(counts))
        values = np.fromiter(counts.values(), np.float32, len(counts))
        values = (1.0 + np.log(values)) * self.idf[columns]
        length = float(np.sqrt(values @ values))
        return columns, (values / length if length else values).astype(np.float32)

    def matrix(self, rows: Sequence[Sequence[str]]) -> "csr_matrix":
        """All texts, given as their words: (rows, n-grams)."""
        parts = [self.row(tokens) for tokens in rows]
        starts = np.zeros(len(parts) + 1, np.int64)
        np.cumsum([len(columns) for columns, _ in parts], out=starts[1:])
        columns = np.concatenate([columns for columns, _ in parts]) if parts else np.zeros(0, np.int32)
        values = np.concatenate([values for _, values in parts]) if parts else np.zeros(0, np.float32)
        made = fitting("scipy.sparse").csr_matrix((values, columns, starts), shape=(len(parts), len(self)))
        made.sort_indices()
        return made

    def known(self, tokens: Sequence[str], size: int) -> float:
        """Of the words' character n-grams of that size, the share that this view has; 1 for a text without words."""
        grams = Grams("char", size, size)
        found = [
            gram in self._column for token in tokens if token[0].isalnum() for gram in _character_grams(token, grams)
        ]
        return sum(found) / len(found) if found else 1.0

    def _columns(self, tokens: Sequence[str]) -> list[int]:
        column = self._column
        if self.grams.kind == "word":
            return [column[gram] for gram in _word_grams(tokens, self.grams) if gram in column]
        found: list[int] = []
        remembered = self._remembered
        for token in tokens:
            known = remembered.get(token)
            if known is None:
                known = [column[gram] for gram in _character_grams(token, self.grams) if gram in column]
                if len(remembered) < REMEMBERED:
                    remembered[token] = known
            found += known
        return found


def fit_lexicon(rows: Sequence[Sequence[str]], grams: Grams, *, most: int) -> Lexicon:
    """The lexicon of `rows` (texts as words): every n-gram in enough rows, the `most` frequent when there are more."""
    per_row: Counter[str] = Counter()
    for tokens in rows:
        if grams.kind == "word":
            per_row.update(set(_word_grams(tokens, grams)))
        else:
            per_row.update({gram for token in set(tokens) for gram in _character_grams(token, grams)})
    kept = [(gram, count) for gram, count in per_row.items() if count >= grams.least_rows]
    kept.sort(key=lambda pair: (-pair[1], pair[0]))
    kept = sorted(kept[:most])
    counts = np.array([count for _, count in kept], np.float64)
    idf = np.log((1 + len(rows)) / (1 + counts)) + 1
    return Lexicon(grams, [gram for gram, _ in kept], idf.astype(np.float32))


def _word_grams(tokens: Sequence[str], grams: Grams) -> list[str]:
    found: list[str] = list(tokens) if grams.shortest == 1 else []
    for size in range(max(2, grams.shortest), grams.longest + 1):
        found += [" ".join(tokens[start : start + size]) for start in range(len(tokens) - size + 1)]
    return found


def _character_grams(token: str, grams: Grams) -> list[str]:
    padded = f" {token} "
    found: list[str] = []
    for size in range(grams.shortest, grams.longest + 1):
        if len(padded) <= size:
            found.append(padded)
            break
        found += [padded[start : start + size] for start in range(len(padded) - size + 1)]
    return found
