"""Questions with cached answers, searched by the similarity of their embeddings.

Vectors of the space that was searched last stay in memory until the file changes: a comparison is then one product of
a matrix and a vector. At most `_COMPARED` questions of a space are compared, the most recent ones.
"""

import sqlite3
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sluicegate.services import Neighbour, Question

__all__ = ["Neighbours"]

_COMPARED = 1_000
_GIVEN = 16
"""How many neighbours are returned: one that asks the same is among the nearest."""


@dataclass(frozen=True, slots=True)
class _Space:
    name: str
    version: tuple[int, int]
    """Changes with every write, of this process and of others."""
    rows: Sequence[Any]
    vectors: Any
    """One row for each question; float32."""


class Neighbours:
    """The table `questions` of the cache's file. The caller holds a lock and sees to the errors of SQLite."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._space: _Space | None = None

    def add(self, key: str, question: Question) -> None:
        """Store the question of the answer under `key`, which must be stored already."""
        vector = array("f", question.vector).tobytes()
        self._connection.execute(
            "INSERT OR REPLACE INTO questions VALUES (?, ?, ?, ?)", (key, question.space, question.text, vector)
        )

    def near(self, question: Question, *, similarity: float, now: float) -> list[Neighbour]:
        """Questions of the same space of at least this similarity whose answers are valid at `now`, nearest first."""
        import numpy as np

        space = self._loaded(question.space, len(question.vector))
        if not space.rows:
            return []
        similarities = space.vectors @ np.asarray(question.vector, dtype=np.float32)
        found: list[Neighbour] = []
        for index in np.argsort(-similarities, kind="stable"):
            row, near = space.rows[index], float(similarities[index])
            if near < similarity or len(found) == _GIVEN:
                break
            # an answer from the future means that the clock was set back: its age is unknown
            if row["created"] <= now < row["expires"]:
                found.append(Neighbour(row["key"], row["text"], near))
        return found

    def _loaded(self, name: str, dimensions: int) -> _Space:
        import numpy as np

        version = (self._connection.execute("PRAGMA data_version").fetchone()[0], self._connection.total_changes)
        space = self._space
        if space is None or space.name != name or space.version != version:
            rows = self._connection.execute(
                "SELECT key, text, vector, created, expires FROM questions JOIN answers USING (key)"
                " WHERE space = ? ORDER BY created DESC LIMIT ?",
                (name, _COMPARED),
            ).fetchall()
            # another model of the fallback chain may have embedded some of them
            rows = [row for row in rows if len(row["vector"]) == 4 * dimensions]
            joined = b"".join(row["vector"] for row in rows)
            vectors = np.frombuffer(joined, dtype=np.float32).reshape(len(rows), dimensions)
            self._space = space = _Space(name, version, rows, vectors)
        return space
