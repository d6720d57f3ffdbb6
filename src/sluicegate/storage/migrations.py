"""How a store is brought to its current format: numbered steps, forward only, each in one transaction.

A file has its number in ``PRAGMA user_version``, a server has it in the table ``sluicegate``. Whoever opens a store
first after an upgrade takes its missing steps under a lock; others wait and find it done. Version 0.1.0 numbered few of
its files: step 1 is its format everywhere, and takes in what it finds.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluicegate.errors import CorruptError, RunError, ServerError

__all__ = ["Migration", "Schema", "migrate_file", "migrate_server"]


@dataclass(frozen=True, slots=True)
class Migration:
    """One change of a format. What has been released is never edited: the next change is the next step."""

    sql: str
    """Statements, each ended by a semicolon. Where a server may have it, of the SQL that SQLite and PostgreSQL share,
    but for words that `_for_server` translates."""
    on_server: tuple[str, ...] = ()
    """Further statements for a server, such as procedures."""


@dataclass(frozen=True, slots=True)
class Schema:
    """One store: its name and the steps of its format."""

    name: str
    """In a home the file is ``NAME.sqlite``; on a server it is the part that the table of formats names."""
    steps: tuple[Migration, ...]
    local: bool = False
    """A file in every home, also where a server keeps what machines share."""
    durable: bool = False
    """A file keeps commits across a power cut too."""
    secure: bool = False
    """In a file, what is deleted is overwritten."""
    unnumbered: str = ""
    """A query whose column `installed` tells whether version 0.1.0 made these tables on a server, without a number."""


def migrate_file(connection: sqlite3.Connection, schema: Schema, path: Path | str) -> None:
    """Take the steps that a file lacks. The connection is in autocommit mode, outside of a transaction.

    Raises `RunError` SG612 (written by a newer version), SG606 (lacks what no step can add) and `sqlite3.Error`.
    """
    while (version := _version(connection)) < len(schema.steps):
        connection.execute("BEGIN IMMEDIATE")
        try:
            # another process may have been faster
            if _version(connection) == version:
                step = schema.steps[version]
                if not version:
                    _complete(connection, step, path)
                for statement in _statements(step.sql):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {version + 1}")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    if version > len(schema.steps):
        raise RunError(
            "SG612",
            f"{path} was written by a newer version of sluicegate (format {version}, this one reads "
            f"{len(schema.steps)})",
            hint="Upgrade sluicegate, or point SLUICEGATE_HOME to another folder",
        )


def _version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]


def _complete(connection: sqlite3.Connection, step: Migration, path: Path | str) -> None:
    """Give the tables of an unnumbered file the columns that they lack."""
    whole = sqlite3.connect(":memory:")
    try:
        whole.executescript(step.sql)
        for (table,) in whole.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
            there = _columns(connection, table)
            for name, (kind, needed, default) in _columns(whole, table).items() if there else ():
                if name in there:
                    continue
                if needed and default is None:
                    raise CorruptError(
                        f"{path} lacks the column {name} of {table}, which nothing can fill",
                        hint="Restore it from a backup, or move it away to start with an empty one",
                    )
                given = "" if default is None else f" DEFAULT {default}"
                connection.execute(
                    f'ALTER TABLE "{table}" ADD COLUMN "{name}" {kind}{" NOT NULL" if needed else ""}{given}'
                )
    finally:
        whole.close()


def _columns(connection: sqlite3.Connection, table: str) -> dict[str, tuple[str, bool, str | None]]:
    """By name: type, whether it must have a value, and its default."""
    rows = connection.execute('SELECT name, type, "notnull", dflt_value FROM pragma_table_info(?)', (table,))
    return {row[0]: (row[1], bool(row[2]), row[3]) for row in rows}


_FORMATS = "CREATE TABLE IF NOT EXISTS sluicegate (part TEXT PRIMARY KEY, format INTEGER NOT NULL)"
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('sluicegate-tables'))"
# reads the tables: what the server remembers of names may be older than another process's commit
_INSTALLED = """
    SELECT EXISTS (
        SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE relname = 'sluicegate' AND nspname = ANY(current_schemas(FALSE))
    ) AS installed
"""


def migrate_server(connection: Any, schema: Schema, server: str) -> None:
    """Take the steps that a server lacks; `connection` is of psycopg, in autocommit mode, `server` its name.

    Raises `RunError` SG612 (set up by a newer version), SG625 (tables of another program) and `psycopg.Error`.
    """
    while (version := _format(connection, schema)) < len(schema.steps):
        with connection.transaction():
            connection.execute(_LOCK)
            # another process may have been faster
            if _format(connection, schema) == version:
                _on_server(connection, schema, version, server)
    if version > len(schema.steps):
        raise RunError(
            "SG612",
            f"{server} was set up by a newer version of sluicegate ({schema.name}, format {version})",
            hint="Upgrade sluicegate on this machine too",
        )


def _format(connection: Any, schema: Schema) -> int:
    if not connection.execute(_INSTALLED).fetchone()["installed"]:
        return 0
    row = connection.execute("SELECT format FROM sluicegate WHERE part = %s", (schema.name,)).fetchone()
    return row["format"] if row else 0


def _on_server(connection: Any, schema: Schema, version: int, server: str) -> None:
    from psycopg.errors import DuplicateTable

    connection.execute(_FORMATS)
    found = not version and schema.unnumbered and connection.execute(schema.unnumbered).fetchone()["installed"]
    step = schema.steps[version]
    try:
        for statement in () if found else (*_statements(_for_server(step.sql)), *step.on_server):
            connection.execute(statement)
    except DuplicateTable:
        raise ServerError(
            f"{server} has tables of another program that are named as ours ({schema.name})",
            hint="Give Sluicegate its own database or schema: …/DATABASE?options=-csearch_path%3DSCHEMA",
        ) from None
    connection.execute(
        "INSERT INTO sluicegate VALUES (%s, %s) ON CONFLICT (part) DO UPDATE SET format = excluded.format",
        (schema.name, version + 1),
    )


def _for_server(sql: str) -> str:
    # bytes are compared, as SQLite does, in whatever language the server speaks
    words = {
        # a server would take the backslashes of a text for its own
        "CAST(value AS BLOB)": "convert_to(value, 'UTF8')",
        "BLOB": "BYTEA",
        "TEXT": 'TEXT COLLATE "C"',
        "WITHOUT ROWID": "",
        " IF NOT EXISTS": "",
        # numbered by SQLite itself; a REAL has 8 bytes there, and 4 on a server
        "seq INTEGER PRIMARY KEY": "seq BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
        "number INTEGER PRIMARY KEY": "number BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
        " AUTOINCREMENT": "",
        " REAL": " DOUBLE PRECISION",
        "INSERT OR IGNORE": "INSERT",
    }
    for word, theirs in words.items():
        sql = sql.replace(word, theirs)
    return sql


def _statements(sql: str) -> Iterator[str]:
    return filter(str.strip, sql.split(";"))
