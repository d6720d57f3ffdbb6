"""The key that hashes users and texts in traces: a home's own, or that of all machines of a server."""

import functools
import os
import secrets
from pathlib import Path

from sluicegate.errors import ConfigError, Problem, UnwritableError
from sluicegate.home import home, make_private
from sluicegate.storage.database import PostgresDatabase
from sluicegate.storage.postgres import Server, configured
from sluicegate.storage.schemas import SHARED_TRACES

__all__ = ["user_key"]


def user_key() -> bytes:
    """The key that `SLUICEGATE_TRACE_KEY` says (hex), else the server's, which has that of the first machine, else the
    home's, created at its first use. Raises `ConfigError` SG107, `RunError` SG607 and SG625."""
    given = os.environ.get("SLUICEGATE_TRACE_KEY")
    if given:
        try:
            return bytes.fromhex(given)
        except ValueError:
            raise ConfigError([Problem("SG107", "SLUICEGATE_TRACE_KEY is not hexadecimal")]) from None
    server = configured()
    return _of_server(server, home()) if server else _of_home(home())


def _of_home(folder: Path) -> bytes:
    path = folder / "trace.key"
    try:
        if not path.exists():
            make_private(path, secrets.token_bytes(32))
        return path.read_bytes()
    except OSError as error:
        raise UnwritableError(f"cannot store a key in {path}: {error.strerror}", hint="Check permissions") from error


@functools.cache
def _of_server(server: Server, folder: Path) -> bytes:
    """A person must have one name on all machines: policy compares it, and an erasure looks for it."""
    with PostgresDatabase(server, SHARED_TRACES).writing() as execute:
        execute.many("INSERT INTO trace_key (id, key) VALUES (1, ?) ON CONFLICT DO NOTHING", [(_of_home(folder),)])
        (row,) = execute("SELECT key FROM trace_key")
    return bytes(row["key"])
