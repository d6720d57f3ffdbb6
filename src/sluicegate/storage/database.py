"""Durable rows: in a SQLite file of the home, or on the PostgreSQL server that machines share.

One SQL serves both: ``?`` placeholders, ``ON CONFLICT``, and the types TEXT, INTEGER, BIGINT, DOUBLE PRECISION, BLOB.
"""

import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

from sluicegate.home import home
from sluicegate.storage.migrations import Schema, migrate_server
from sluicegate.storage.postgres import Server, configured
from sluicegate.storage.sqlite import connect, explained, transaction

__all__ = [
    "IN_TURN",
    "Database",
    "Execute",
    "Place",
    "PostgresDatabase",
    "PostgresRows",
    "Rows",
    "SqliteDatabase",
    "SqliteRows",
    "is_there",
    "open_database",
    "place",
]

IN_TURN = "SELECT pg_advisory_xact_lock(hashtextextended(current_schema() || ' ' || ?, 0))"
"""Has a transaction of a server wait for those that have said this with the same name, and others for it."""

_KNOWN_S = 1.0
"""Stores are opened for single calls too: tables that were looked at are not looked at again for so long. After a
program of a newer version has changed them, this one goes on no longer than that."""

T = TypeVar("T")
Place: TypeAlias = Path | Server
"""Where runs are kept: a home, or a server."""


class Execute(Protocol):
    def __call__(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Run one statement and return its rows."""
        ...


class Rows(Execute, Protocol):
    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each of these rows."""
        ...


class Database(Protocol):
    """Raises `RunError`: SG606, SG607 or SG608 of a file, SG625 of a server. With `run`, through the connection that
    holds that run."""

    remote: bool
    """Each call waits for a server."""

    def writing(self, run: str = "") -> AbstractContextManager[Rows]:
        """A transaction, rolled back when the block raises."""
        ...

    def alone(self, name: str) -> AbstractContextManager[Rows]:
        """A transaction that no other one of this name overlaps, whichever machine has it: of what is counted in it,
        nobody else adds anything meanwhile."""
        ...

    def reading(self, run: str = "") -> AbstractContextManager[Execute]: ...

    def erasing(self, run: str = "") -> AbstractContextManager[Rows]:
        """A transaction after which a file no longer contains what was deleted or overwritten in it; a server does
        until it is vacuumed."""
        ...

    def vacuum(self) -> None:
        """Write a file anew, without what earlier changes have left in its free pages."""
        ...

    async def call(self, work: Callable[..., T], *given: Any) -> T:
        """Do work that uses this database without blocking the event loop: on another thread where each call
        waits for a server. To a file it is done at once: a commit in write-ahead mode is a copy into the page cache,
        which is cheaper than a thread switch."""
        ...

    def close(self) -> None: ...


def place() -> Place:
    """The server when one is configured, else the home."""
    return configured() or home()


def open_database(where: Place, schema: Schema, *, look: bool = False) -> Database:
    """A store of a home, or of a server; `look` as in `sqlite.connect`."""
    if isinstance(where, Server):
        return PostgresDatabase(where, schema)
    return SqliteDatabase(where / f"{schema.name}.sqlite", schema, look=look)


def is_there(where: Place, schema: Schema) -> bool:
    """Whether there may be anything in such a store: a home without its file need not be given one."""
    return isinstance(where, Server) or (where / f"{schema.name}.sqlite").is_file()


class SqliteDatabase:
    """A file of one machine."""

    remote = False

    def __init__(self, path: Path | str, schema: Schema, *, look: bool = False) -> None:
        """As `sqlite.connect`."""
        self.path = path
        self._lock = threading.Lock()
        self._connection = connect(path, schema, look=look)
        self._rows = SqliteRows(self._connection)

    @contextmanager
    def writing(self, run: str = "") -> Generator[Rows]:
        del run
        with self._lock, transaction(self._connection):
            yield self._rows

    def alone(self, name: str) -> AbstractContextManager[Rows]:
        del name
        # a file has one writer at a time
        return self.writing()

    @contextmanager
    def reading(self, run: str = "") -> Generator[Execute]:
        del run
        with self._lock, explained(self.path):
            yield self._rows

    @contextmanager
    def erasing(self, run: str = "") -> Generator[Rows]:
        del run
        with self._lock, explained(self.path):
            self._connection.execute("PRAGMA secure_delete = ON")
            before = self._connection.total_changes
            with transaction(self._connection):
                yield self._rows
            if self._connection.total_changes != before:
                # it may still be in the write-ahead log
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    async def call(self, work: Callable[..., T], *given: Any) -> T:
        return work(*given)

    def vacuum(self) -> None:
        with self._lock, explained(self.path):
            self._connection.execute("VACUUM")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        with self._lock, explained(self.path):
            self._connection.close()


class SqliteRows:
    """Implements `Rows` over a connection to a file."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __call__(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        return [dict(row) for row in self._connection.execute(sql, parameters)]

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        self._connection.executemany(sql, rows)


class PostgresDatabase:
    """Tables of a server, made by the first process that needs them."""

    remote = True

    def __init__(self, server: Server, schema: Schema) -> None:
        """Raises `RunError` SG625, also when another program's tables have these names, and SG612 when a newer version
        made them."""
        self.server = server
        known, until = server.tables.get(schema.name, (None, 0.0))
        if known != schema or time.monotonic() >= until:
            with server.connection() as connection:
                migrate_server(connection, schema, server.name)
            server.tables[schema.name] = (schema, time.monotonic() + _KNOWN_S)

    @contextmanager
    def writing(self, run: str = "") -> Generator[Rows]:
        with (
            self.server.connection(run) as connection,
            # statements go out together: one wait for all that give no rows
            connection.pipeline() as pipeline,
            connection.transaction(),
        ):
            yield PostgresRows(connection, pipeline)

    @contextmanager
    def alone(self, name: str) -> Generator[Rows]:
        with self.writing() as execute:
            execute.many(IN_TURN, [(name,)])
            yield execute

    @contextmanager
    def reading(self, run: str = "") -> Generator[Execute]:
        with self.server.connection(run) as connection:
            yield PostgresRows(connection)

    @contextmanager
    def snapshot(self) -> Generator[Execute]:
        """Read as it was at one moment, in however many statements, whatever is written meanwhile."""
        with self.server.connection() as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield PostgresRows(connection)

    def erasing(self, run: str = "") -> AbstractContextManager[Rows]:
        return self.writing(run)

    async def call(self, work: Callable[..., T], *given: Any) -> T:
        return await self.server.call(work, *given)

    def vacuum(self) -> None:
        """Left to the server, which vacuums by itself."""

    def close(self) -> None:
        """Nothing to close: the server's connections are shared."""


class PostgresRows:
    """Implements `Rows` over a psycopg connection."""

    def __init__(self, connection: Any, pipeline: Any = None) -> None:
        self._connection, self._pipeline = connection, pipeline

    def __call__(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        # without parameters the text goes as it is
        cursor = self._connection.execute(_marked(sql) if parameters else sql, parameters or None)
        if self._pipeline:
            self._pipeline.sync()
        return list(cursor.fetchall()) if cursor.description else []

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(_marked(sql), rows)


def _marked(sql: str) -> str:
    return sql.replace("%", "%%").replace("?", "%s")
