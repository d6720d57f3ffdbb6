"""What this machine has recorded and the server does not have yet, in the home, in the order it was recorded."""

import json
import secrets
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from sluicegate.observe.tracing.storing.writes import WrittenRows, storable, to_json
from sluicegate.storage.schemas import UNSENT
from sluicegate.storage.sqlite import connect, explained, transaction

__all__ = ["Unsent"]


class Unsent:
    """Safe to use from any thread, and by the processes of a home. Raises `RunError` SG606 to SG608."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{UNSENT.name}.sqlite"
        self._lock = threading.Lock()
        self._connection = connect(self.path, UNSENT)
        with self._lock, transaction(self._connection) as connection:
            connection.execute("INSERT INTO sender SELECT ? WHERE NOT EXISTS (SELECT 1 FROM sender)", (_id(),))
            self.sender: str = connection.execute("SELECT id FROM sender").fetchone()["id"]
            """Names this home to the server."""

    def add(self, rows: WrittenRows) -> None:
        # a home that was put back to an older state must not use a number again, which the server would pass over
        with self._lock, transaction(self._connection) as connection:
            connection.execute(_ADD, (time.time_ns(), to_json(storable(rows))))

    def first(self, most: int) -> list[tuple[int, WrittenRows]]:
        """The oldest, with their numbers, which rise."""
        with self._lock, explained(self.path):
            found = self._connection.execute("SELECT number, rows FROM unsent ORDER BY number LIMIT ?", (most,))
            return [(row["number"], json.loads(row["rows"])) for row in found]

    def any(self) -> bool:
        with self._lock, explained(self.path):
            return self._connection.execute("SELECT 1 FROM unsent LIMIT 1").fetchone() is not None

    def sent(self, numbers: Sequence[int]) -> None:
        with self._lock, transaction(self._connection) as connection:
            connection.executemany("DELETE FROM unsent WHERE number = ?", [(number,) for number in numbers])

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def _id() -> str:
    return secrets.token_hex(8)


_ADD = (
    "INSERT INTO unsent (number, rows) SELECT "
    "max(?, 1 + coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'unsent'), 0)), ?"
)
