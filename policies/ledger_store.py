"""Where the ledger keeps its rows: one schema for SQLite in the home, and for PostgreSQL (`ledger_postgres`).

A store gives write transactions that exclude each other across processes, and reads. The tables: `calls` has one row
per reservation with what was estimated and what it really cost; `totals` has the running sums that caps are checked
against, so a reservation costs the same however many went before.
"""

import threading
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from sluicegate.sqlite import connect, explained, transaction

__all__ = ["SCHEMA", "Execute", "SqliteStore", "Store"]

SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS calls (
        id TEXT PRIMARY KEY,
        workflow TEXT NOT NULL,
        run TEXT NOT NULL,
        principal TEXT NOT NULL,
        intent TEXT NOT NULL,
        model TEXT NOT NULL,
        day TEXT NOT NULL,
        state TEXT NOT NULL,
        estimated_micros BIGINT NOT NULL,
        estimated_tokens BIGINT NOT NULL,
        real_micros BIGINT,
        real_tokens BIGINT,
        reserved_at DOUBLE PRECISION NOT NULL,
        expires_at DOUBLE PRECISION NOT NULL,
        ended_at DOUBLE PRECISION
    )
    """,
    "CREATE INDEX IF NOT EXISTS calls_held ON calls (expires_at) WHERE state = 'held'",
    "CREATE INDEX IF NOT EXISTS calls_day ON calls (day, workflow)",
    """
    CREATE TABLE IF NOT EXISTS totals (
        scope TEXT PRIMARY KEY,
        held_micros BIGINT NOT NULL,
        spent_micros BIGINT NOT NULL,
        held_tokens BIGINT NOT NULL,
        spent_tokens BIGINT NOT NULL
    )
    """,
    "CREATE TABLE IF NOT EXISTS clock (id INTEGER PRIMARY KEY, latest DOUBLE PRECISION NOT NULL)",
)


class Execute(Protocol):
    def __call__(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Run one statement with ``?`` placeholders; the rows it gives."""
        ...


class Store(Protocol):
    def writing(self) -> AbstractContextManager[Execute]:
        """A transaction that no other writer overlaps; rolled back when the block raises. Raises `RunError`."""
        ...

    def close(self) -> None: ...


class SqliteStore:
    """The ledger of one machine."""

    def __init__(self, path: Path, *, look: bool = False) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection = connect(path, schema=";".join(SCHEMA), look=look)

    @contextmanager
    def writing(self) -> Generator[Execute]:
        def execute(sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
            return [dict(row) for row in self._connection.execute(sql, parameters)]

        with self._lock, transaction(self._connection):
            yield execute

    def close(self) -> None:
        with explained(self._path):
            self._connection.close()
