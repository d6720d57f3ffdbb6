"""A store of embeddings by content, for fits and ingests that see the same texts again.

Keyed by the model's identity and the text's SHA-256: other weights or another text never get an old vector. It is for
examples and documents; requests are not stored here.
"""

import hashlib
import os
import threading
from array import array
from collections.abc import Mapping, Sequence

from sluicegate.errors import CorruptError
from sluicegate.home import cache_dir, home
from sluicegate.storage.schemas import EMBEDDINGS
from sluicegate.storage.sqlite import connect, explained, transaction

__all__ = ["EmbeddingStore"]

AT_ONCE = 500


class EmbeddingStore:
    """The SQLite file ``embeddings.sqlite`` in the user's cache, or in the home where that is read-only, as in an image
    that has the weights. A corrupt file is replaced by an empty one."""

    def __init__(self) -> None:
        path = (cache_dir() if os.access(cache_dir(), os.W_OK) else home()) / "embeddings.sqlite"
        try:
            self._connection = connect(path, EMBEDDINGS)
        except CorruptError:
            for leftover in path.parent.glob(f"{path.name}*"):
                leftover.unlink(missing_ok=True)
            self._connection = connect(path, EMBEDDINGS)
        self._lock = threading.Lock()

    def get(self, identity: str, texts: Sequence[str]) -> "dict[str, array[float]]":
        """The known vectors by text."""
        by_key = {_key(identity, text): text for text in texts}
        keys = list(by_key)
        found: dict[str, array[float]] = {}
        with self._lock, explained("the embedding cache"):
            for start in range(0, len(keys), AT_ONCE):
                some = keys[start : start + AT_ONCE]
                marks = ",".join("?" * len(some))
                rows = self._connection.execute(
                    f"SELECT key, vector FROM vectors WHERE key IN ({marks})",  # noqa: S608 - question marks only
                    some,
                )
                for row in rows:
                    found[by_key[row["key"]]] = array("f", row["vector"])
        return found

    def put(self, identity: str, vectors: Mapping[str, Sequence[float]]) -> None:
        """Store vectors, as 32-bit floats."""
        rows = [(_key(identity, text), array("f", vector).tobytes()) for text, vector in vectors.items()]
        with self._lock, transaction(self._connection) as connection:
            connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def _key(identity: str, text: str) -> bytes:
    return hashlib.sha256(f"{identity}\0{text}".encode("utf-8", "surrogatepass")).digest()
