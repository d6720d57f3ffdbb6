"""SQLite for all rooms: one way to open, one way to fail.

Write-ahead logging with `synchronous=NORMAL` survives `kill -9` of any process without loss; a power cut may lose the
last commits but never corrupts. What must survive a power cut too is `durable` in its schema.
"""

import os
import sqlite3
import time
import zlib
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from sluicegate.errors import CorruptError, LockedError, UnwritableError
from sluicegate.home import owner_only
from sluicegate.storage.migrations import Schema, migrate_file

__all__ = ["connect", "explained", "transaction", "written_at"]


PATIENCE_S = 10.0
"""Seconds that a writer waits for another one."""
_AGAIN_S = 0.005


class _Connection(sqlite3.Connection):
    """Lasts as long as the store that opened it; Python 3.13 warns of one that is let go without being closed."""

    path: Path | str = "the database"

    def __del__(self) -> None:
        # one that could not be opened cannot be closed
        with suppress(sqlite3.ProgrammingError):
            self.close()


def connect(path: Path | str, schema: Schema | None = None, *, look: bool = False) -> sqlite3.Connection:
    """Open a database in autocommit mode, usable from any thread (callers serialise), in `schema`'s present format.

    With `look`, one that cannot be written is read into memory: what is then written is written to the copy, and lost.
    Raises `RunError` SG606 (corrupt), SG607 (disk full, read-only), SG608 (locked for more than 10 s) or SG612 (written
    by a newer version).
    """
    with explained(path):
        copied = look and not _writable(Path(path))
        connection = sqlite3.connect(
            ":memory:" if copied else path,
            isolation_level=None,
            check_same_thread=False,
            timeout=PATIENCE_S,
            factory=_Connection,
        )
        connection.path = path
        if not copied and path != ":memory:":
            # its write-ahead log and index get the same mode from SQLite
            owner_only(Path(path))
        connection.row_factory = sqlite3.Row
        # by the names that SQLite's shell has for them
        connection.create_function("sqlar_compress", 1, _packed, deterministic=True)
        connection.create_function("sqlar_uncompress", 2, _unpacked, deterministic=True)
        if copied:
            _copy(Path(path).absolute(), connection)
        _write_ahead(connection)
        connection.execute(f"PRAGMA synchronous={'FULL' if schema and schema.durable else 'NORMAL'}")
        connection.execute("PRAGMA foreign_keys=ON")
        if schema:
            if schema.secure:
                connection.execute("PRAGMA secure_delete=ON")
            try:
                migrate_file(connection, schema, path)
            except BaseException:
                connection.close()
                raise
        return connection


def _write_ahead(connection: sqlite3.Connection) -> None:
    """SQLite does not wait by itself to change the mode of a new file while another process opens or closes it: it
    holds a lock that the other one may be waiting for."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                raise
            time.sleep(_AGAIN_S)
        else:
            return


def _packed(content: bytes) -> bytes:
    # a higher level takes twice as long for a tenth less
    packed = zlib.compress(content, 1)
    return packed if len(packed) < len(content) else content


def _unpacked(content: bytes, size: int) -> bytes:
    return content if len(content) == size else zlib.decompress(content)


def _writable(path: Path) -> bool:
    """The folder counts too: a write-ahead log is a file beside the database."""
    return os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))


def _copy(path: Path, memory: sqlite3.Connection) -> None:
    if not path.exists():
        return
    log = path.with_name(f"{path.name}-wal")
    # without a log the file is whole as it stands, and SQLite need not make one to read it
    immutable = "" if log.exists() and log.stat().st_size else "&immutable=1"
    disk = sqlite3.connect(f"{path.as_uri()}?mode=ro{immutable}", uri=True, timeout=PATIENCE_S)
    try:
        disk.backup(memory)
    finally:
        disk.close()


def written_at(path: Path) -> tuple[int, int, int] | None:
    """Changes whenever a process writes to a database that this one has open: whatever is written, its log is first.
    Takes no lock, as `PRAGMA data_version` does each time."""
    try:
        status = path.with_name(f"{path.name}-wal").stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


@contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[sqlite3.Connection]:
    """A write transaction that takes the lock at once, so that two writers wait instead of failing half-way."""
    with explained(getattr(connection, "path", _Connection.path)):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            # SQLite has already rolled back when the disk is full
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


@contextmanager
def explained(path: Path | str) -> Generator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        message = str(error)
        if "locked" in message or "busy" in message:
            raise LockedError(f"{path} is locked by another process", hint="Try again when it is done") from error
        if any(sign in message for sign in ("full", "readonly", "unable to open", "disk I/O")):
            raise UnwritableError(f"cannot write {path}: {message}", hint="Free space or check permissions") from error
        # what cannot be unpacked is damaged too
        if any(sign in message for sign in ("malformed", "not a database", "user-defined function")):
            raise CorruptError(
                f"{path} is corrupt: {message}",
                hint="Restore it from a backup, or move it away to start with an empty one",
            ) from error
        raise
