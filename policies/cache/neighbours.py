"""Questions with cached answers, searched by the similarity of their embeddings.

Vectors of the space that was searched last stay in memory: a comparison is one product of a matrix and a vector. Before
each, one statement fetches what has been added since, on whatever machine, and says whether something has gone
meanwhile; only then everything is read again. At most `_COMPARED` questions of a space are compared, the most recent
ones.
"""

import threading
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sluicegate.services import Neighbour, Question
from sluicegate.storage.database import Execute, Rows

__all__ = ["Neighbours"]

_COMPARED = 1_000
_GIVEN = 16
"""How many neighbours are returned: one that asks the same is among the nearest."""
_OVERLAP = 64
"""Numbers that are read again: on a server, a question may be seen before one with a smaller number."""


@dataclass(frozen=True, slots=True)
class _Space:
    name: str
    dimensions: int
    epoch: str = ""
    """Another one as soon as a question has gone."""
    last: int = 0
    """The largest number that was read."""
    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """By key, the newest last."""
    compared: Sequence[Any] = ()
    vectors: Any = None
    """One row for each that is compared; float32."""


class Neighbours:
    """The table `questions` of the cache. Safe to use from any thread; the caller sees to errors of the database."""

    def __init__(self) -> None:
        self._space: _Space | None = None
        self._lock = threading.Lock()

    def add(self, execute: Rows, key: str, question: Question) -> None:
        """Store the question of the answer under `key`, which must be stored already, and have no question."""
        vector = array("f", question.vector).tobytes()
        row = (key, question.space, question.text, vector)
        execute.many("INSERT INTO questions (key, space, text, vector) VALUES (?, ?, ?, ?)", [row])

    def near(self, execute: Execute, question: Question, *, similarity: float, now: float) -> list[Neighbour]:
        """Questions of the same space of at least this similarity whose answers are valid at `now`, nearest first."""
        import numpy as np

        space = self._present(execute, question.space, len(question.vector))
        if not space.compared:
            return []
        similarities = space.vectors @ np.asarray(question.vector, dtype=np.float32)
        found: list[Neighbour] = []
        for index in np.argsort(-similarities, kind="stable"):
            row, near = space.compared[index], float(similarities[index])
            if near < similarity or len(found) == _GIVEN:
                break
            # an answer from the future means that the clock was set back: its age is unknown
            if row["created"] <= now < row["expires"]:
                found.append(Neighbour(row["key"], row["text"], near))
        return found

    def _present(self, execute: Execute, name: str, dimensions: int) -> _Space:
        with self._lock:
            space = self._space
            if space is None or (space.name, space.dimensions) != (name, dimensions):
                space = _Space(name, dimensions)
            added = execute(_SINCE, (name, space.last - _OVERLAP, _COMPARED))
            epoch = added[0]["epoch"]
            if epoch != space.epoch and space.rows:
                space = _Space(name, dimensions)
                added = execute(_SINCE, (name, 0, _COMPARED))
            # without a question there is one row, for the epoch
            new = [row for row in reversed(added) if row["seq"] is not None]
            fresh = [row for row in new if (known := space.rows.get(row["key"])) is None or known["seq"] != row["seq"]]
            if fresh or epoch != space.epoch:
                space = _extended(space, fresh, epoch)
            self._space = space
            return space


def _extended(space: _Space, fresh: Sequence[dict[str, Any]], epoch: str) -> _Space:
    import numpy as np

    keys = {row["key"] for row in fresh}
    rows = {key: row for key, row in space.rows.items() if key not in keys} | {row["key"]: row for row in fresh}
    rows = dict([*rows.items()][-_COMPARED:])
    # another model of the fallback chain may have embedded some of them
    compared = [row for row in reversed(rows.values()) if len(row["vector"]) == 4 * space.dimensions]
    vectors = np.frombuffer(b"".join(row["vector"] for row in compared), dtype=np.float32)
    last = max((space.last, *(row["seq"] for row in fresh)))
    matrix = vectors.reshape(len(compared), space.dimensions)
    return _Space(space.name, space.dimensions, epoch, last, rows, compared, matrix)


_SINCE = (
    "SELECT counters.epoch, added.* FROM counters LEFT JOIN (SELECT questions.seq, key, text, vector, created, expires"
    " FROM questions JOIN answers USING (key) WHERE space = ? AND questions.seq > ? ORDER BY questions.seq DESC"
    " LIMIT ?) AS added ON 1 = 1 ORDER BY added.seq DESC"
)
