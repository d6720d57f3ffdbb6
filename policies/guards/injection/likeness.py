"""Rows that say much the same: near-duplicates, and fillings of one template.

Two texts are alike where the shorter one shares `CONTAINED` of its runs of five words with the other, whatever their
sources are, and, within a source, where `OVERLAPPING` of their runs of five characters, together, are common to both.
What is alike with something in between is in one cluster, too.
"""

import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sluicegate.extras import fitting

__all__ = ["clusters"]

CONTAINED = 0.3
OVERLAPPING = 0.6
RUN = 5
_BLOCK = 500
_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"\w+")

Ints = NDArray[np.int64]


def clusters(texts: Sequence[str], sources: Sequence[str]) -> Ints:
    """A number for each text (texts), the same for those in one cluster."""
    plain = [_SPACE.sub(" ", text.lower()).strip() for text in texts]
    links = [_alike([_words(text) for text in plain], _contained)]
    places: dict[str, list[int]] = {}
    for at, source in enumerate(sources):
        places.setdefault(source, []).append(at)
    links += [
        np.array(inside)[_alike([_characters(plain[at]) for at in inside], _overlapping)] for inside in places.values()
    ]
    pairs = np.concatenate(links, axis=1)
    shape = (len(texts), len(texts))
    graph = fitting("scipy.sparse").csr_matrix((np.ones(pairs.shape[1], np.int8), (pairs[0], pairs[1])), shape=shape)
    return fitting("scipy.sparse.csgraph").connected_components(graph, directed=False)[1].astype(np.int64)


def _words(text: str) -> set[int]:
    words = _WORD.findall(text)
    return {_hash(" ".join(words[at : at + RUN])) for at in range(len(words) - RUN + 1)}


def _characters(text: str) -> set[int]:
    return {_hash(text[at : at + RUN]) for at in range(max(1, len(text) - RUN + 1))}


def _hash(run: str) -> int:
    return zlib.crc32(run.encode("utf-8", "surrogatepass"))


def _contained(common: NDArray[Any], one: Ints, other: Ints) -> NDArray[np.bool_]:
    return common >= CONTAINED * np.minimum(one, other)


def _overlapping(common: NDArray[Any], one: Ints, other: Ints) -> NDArray[np.bool_]:
    return common >= OVERLAPPING * (one + other - common)


def _alike(runs: Sequence[set[int]], test: Callable[[NDArray[Any], Ints, Ints], NDArray[np.bool_]]) -> Ints:
    """Pairs of texts that pass the test by the runs they have in common, (2, pairs)."""
    number: dict[int, int] = {}
    columns = [number.setdefault(run, len(number)) for found in runs for run in sorted(found)]
    sizes = np.array([len(found) for found in runs], np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    shape = (len(runs), max(len(number), 1))
    matrix = fitting("scipy.sparse").csr_matrix((np.ones(len(columns), np.float32), columns, starts), shape=shape)
    pairs: list[Ints] = [np.zeros((2, 0), np.int64)]
    for start in range(0, len(runs), _BLOCK):
        common = (matrix[start : start + _BLOCK] @ matrix.T).tocoo()
        one, other = common.row.astype(np.int64) + start, common.col.astype(np.int64)
        alike = (one < other) & test(common.data, sizes[one], sizes[other])
        pairs.append(np.stack([one[alike], other[alike]]))
    return np.concatenate(pairs, axis=1)
