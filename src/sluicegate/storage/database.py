"""Rows that outlast their process: in a SQLite file of the home, or on the PostgreSQL server that machines share.

One SQL serves both: ``?`` placeholders, ``ON CONFLICT``, and the types TEXT, INTEGER, BIGINT, DOUBLE PRECISION, BLOB.
"""

import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from sluicegate.errors import RunError
from sluicegate.home import home
from sluicegate.storage.postgres import Server, configured
from sluicegate.storage.sqlite import connect, explained, transaction

__all__ = [
    "Database",
    "Execute",
    "Place",
    "PostgresDatabase",
    "PostgresRows",
    "Rows",
    "SqliteDatabase",
    "open_database",
    "place",
]

Place: TypeAlias = Path | Server
"""Where runs are kept: a home, or a server."""


class Execute(Protocol):
    def __call__(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Run one statement; the rows it gives."""
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

    def reading(self, run: str = "") -> AbstractContextManager[Execute]: ...

    def erasing(self, run: str = "") -> AbstractContextManager[Rows]:
        """A transaction after which a file no longer has what was deleted or overwritten in it. A server has it until
        it is vacuumed."""
        ...

    def close(self) -> None: ...


def place() -> Place:
    """The server when one is configured, else the home."""
    return configured() or home()


def open_database(where: Place, name: str, schema: str, *, durable: bool = False) -> Database:
    """The tables of `schema`; in a home they are ``NAME.sqlite``, where `durable` keeps them over a power cut."""
    if isinstance(where, Server):
        return PostgresDatabase(where, name, schema)
    return SqliteDatabase(where / f"{name}.sqlite", schema, durable=durable)


class SqliteDatabase:
    """A file of one machine."""

    remote = False

    def __init__(self, path: Path | str, schema: str, *, durable: bool = False, look: bool = False) -> None:
        """As `sqlite.connect`."""
        self.path = path
        self._lock = threading.Lock()
        self._connection = connect(path, schema=schema, durable=durable, look=look)
        self._rows = _SqliteRows(self._connection)

    @contextmanager
    def writing(self, run: str = "") -> Generator[Rows]:
        del run
        with self._lock, transaction(self._connection):
            yield self._rows

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
                # it may still stand in the write-ahead log
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        with self._lock, explained(self.path):
            self._connection.close()


class _SqliteRows:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __call__(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        return [dict(row) for row in self._connection.execute(sql, parameters)]

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        self._connection.executemany(sql, rows)


_FORMATS = "CREATE TABLE IF NOT EXISTS sluicegate (part TEXT PRIMARY KEY, format INTEGER NOT NULL)"
_FORMAT = 1
# reads the tables: what the server remembers of names may be older than another process's commit
_INSTALLED = """
    SELECT EXISTS (
        SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE relname = 'sluicegate' AND nspname = ANY(current_schemas(FALSE))
    ) AS installed
"""


class PostgresDatabase:
    """Tables of a server, made by the first process that needs them."""

    remote = True

    def __init__(self, server: Server, name: str, schema: str) -> None:
        """Raises `RunError` SG625, also when another program's tables have these names, and SG612 when a newer version
        made them."""
        self.server = server
        with server.connection() as connection:
            if _format(connection, name) is None:
                with connection.transaction():
                    connection.execute("SELECT pg_advisory_xact_lock(hashtext('sluicegate-tables'))")
                    # another process may have been quicker
                    if _format(connection, name) is None:
                        _make(server, connection, name, schema)
            if (found := _format(connection, name) or _FORMAT) > _FORMAT:
                raise RunError(
                    "SG612",
                    f"{server.name} was set up by a newer version of sluicegate ({name}, format {found})",
                    hint="Upgrade sluicegate here too",
                )

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
    def reading(self, run: str = "") -> Generator[Execute]:
        with self.server.connection(run) as connection:
            yield PostgresRows(connection)

    def erasing(self, run: str = "") -> AbstractContextManager[Rows]:
        return self.writing(run)

    def close(self) -> None:
        """Nothing of its own is open: the server's connections serve others too."""


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


def _format(connection: Any, name: str) -> int | None:
    if not connection.execute(_INSTALLED).fetchone()["installed"]:
        return None
    row = connection.execute("SELECT format FROM sluicegate WHERE part = %s", (name,)).fetchone()
    return row["format"] if row else None


def _make(server: Server, connection: Any, name: str, schema: str) -> None:
    from psycopg.errors import DuplicateTable

    connection.execute(_FORMATS)
    # bytes are compared, as SQLite does, in whatever language the server speaks
    words = {"BLOB": "BYTEA", "TEXT": 'TEXT COLLATE "C"', "WITHOUT ROWID": "", " IF NOT EXISTS": ""}
    for word, theirs in words.items():
        schema = schema.replace(word, theirs)
    try:
        for statement in filter(str.strip, schema.split(";")):
            connection.execute(statement)
    except DuplicateTable:
        raise RunError(
            "SG625",
            f"{server.name} has tables of another program that are named as ours ({name})",
            hint="Give Sluicegate a database or a schema of its own: …/DATABASE?options=-csearch_path%3DSCHEMA",
        ) from None
    connection.execute("INSERT INTO sluicegate (part, format) VALUES (%s, %s)", (name, _FORMAT))
