"""Where the ledger keeps its rows: SQLite in the home, or PostgreSQL by URL. One SQL for both.

A store gives write transactions that exclude each other across processes, and reads. The tables: `calls` has one row
per reservation with what was estimated and what it really cost; `totals` has the running sums that caps are checked
against, so a reservation costs the same however many went before.
"""

import threading
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from sluicegate.errors import RunError
from sluicegate.sqlite import connect, explained, transaction

__all__ = ["Execute", "PostgresStore", "SqliteStore", "Store"]

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

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection = connect(path, schema=";".join(SCHEMA))

    @contextmanager
    def writing(self) -> Generator[Execute]:
        def execute(sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
            return [dict(row) for row in self._connection.execute(sql, parameters)]

        with self._lock, transaction(self._connection):
            yield execute

    def close(self) -> None:
        with explained(self._path):
            self._connection.close()


class PostgresStore:
    """One ledger for many machines. Needs the `postgres` extra."""

    def __init__(self, url: str) -> None:
        try:
            import psycopg
            from psycopg.rows import dict_row
        except ImportError as error:
            mend = "Install it: pip install 'sluicegate[postgres]'"
            raise RunError("SG606", "a PostgreSQL ledger needs the package psycopg", mend=mend) from error
        self._failure = psycopg.Error
        self._lock = threading.Lock()
        connect_to: Any = psycopg.connect
        self._connect = lambda: connect_to(url, autocommit=True, row_factory=dict_row)
        with self._explained():
            self._connection: Any = self._connect()
        with self.writing() as execute:
            for statement in SCHEMA:
                execute(statement)

    @contextmanager
    def writing(self) -> Generator[Execute]:
        def execute(sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
            cursor = self._connection.execute(sql.replace("%", "%%").replace("?", "%s"), parameters)
            return list(cursor.fetchall()) if cursor.description else []

        with self._lock, self._explained():
            if self._connection.closed:
                # the server was restarted since the last transaction
                self._connection = self._connect()
            with self._connection.transaction():
                # one writer at a time, as in SQLite: the sums of a check may not change under it
                self._connection.execute("SELECT pg_advisory_xact_lock(hashtext('sluicegate-ledger'))")
                yield execute

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except self._failure as error:
            mend = "Check that the server runs and that the URL is right"
            raise RunError("SG606", f"the PostgreSQL ledger failed: {type(error).__name__}", mend=mend) from error
