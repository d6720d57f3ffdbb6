"""Where the ledger keeps its rows: one schema for SQLite in the home, and for PostgreSQL (`ledger_postgres`).

A store gives write transactions that exclude each other across processes, and reads. The tables: `calls` has one row
per reservation with what was estimated and what it really cost; `totals` has the running sums that caps are checked
against, so a reservation costs the same however many went before.
"""

from contextlib import AbstractContextManager
from typing import Protocol

from sluicegate.storage.database import Execute

__all__ = ["SCHEMA", "Store"]

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


class Store(Protocol):
    def writing(self) -> AbstractContextManager[Execute]:
        """A transaction that no other writer overlaps; rolled back when the block raises. Raises `RunError`."""
        ...

    def close(self) -> None: ...
