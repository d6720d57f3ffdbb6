"""PostgreSQL for all rooms: one way to connect, one way to fail. For PostgreSQL 14 or later, with the
`postgres` extra.

A `Server` is one address, with the connections that a process has open to it. A process holds a run by an
advisory lock of one connection, and everything written of that run goes through the same one: a process that lost the
lock, because the server was restarted or the network failed, cannot write to it any more.
"""

import asyncio
import atexit
import functools
import os
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sluicegate.errors import ServerError
from sluicegate.extras import extra

__all__ = ["URL", "Server", "configured", "server"]

URL = "SLUICEGATE_DATABASE_URL"
"""The variable with the URL of the server that machines share."""

_THREADS = 32
"""Calls that wait for a server at a time; more of them wait for a thread."""
_FORMER = "SLUICEGATE_LEDGER_URL"
"""Named a server for the ledger alone in version 0.1.0."""

_IDLE = 8
"""Idle connections that are kept open."""
_DOUBTFUL_S = 5.0
"""A connection that was idle for longer is tested before it is used: the server may have been restarted."""
# a machine that is gone must not hold its runs for the hours that TCP takes to notice, nor one that is cut off wait so
# long: ten seconds of silence end a connection, whether it is idle (4 and 3 times 2) or has sent something
_ALIVE = (
    "SET tcp_keepalives_idle = 4; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3;"
    " SET tcp_user_timeout = '10s'"
)
_DEFAULTS = {
    "connect_timeout": 10,
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
# in words of its own, for a session's lock knows no schema
_LOCK = "SELECT pg_try_advisory_lock(hashtextextended(current_schema() || ' run ' || %s, 0)) AS got"
_UNLOCK = "SELECT pg_advisory_unlock(hashtextextended(current_schema() || ' run ' || %s, 0))"

_MENDS = {
    "28": f"Check user and password in {URL}",
    "3D": f"Create the database, or name another one in {URL}",
    "3F": "Create the schema that search_path names",
    "42501": "Let this user create tables there, or name a schema where it may",
    "42P01": "Upgrade sluicegate on this machine too, where a newer version has set up the server",
    "53300": "Raise max_connections of the server; every active run takes one connection",
}
"""By SQLSTATE, or the class of one."""


T = TypeVar("T")


@dataclass(slots=True)
class _Held:
    """The connection of a run that this process works on."""

    connection: Any
    lock: threading.RLock = field(default_factory=threading.RLock)


class Server:
    """Safe to share between threads. Every method raises `ServerError` when the server does not do what is asked."""

    def __init__(self, url: str) -> None:
        """Connects to nothing yet. Raises `ServerError` SG625 when psycopg is missing or `url` is none."""
        with extra("postgres", "a PostgreSQL server", ServerError):
            import psycopg
            from psycopg.conninfo import conninfo_to_dict, make_conninfo
            from psycopg.rows import dict_row
        try:
            parts = conninfo_to_dict(url)
        except psycopg.Error:
            parts = {}
        place = f"{parts.get('host') or 'localhost'}:{parts.get('port') or 5432}/{parts.get('dbname') or ''}"
        if not parts or "@" in place or not str(parts.get("port") or 5432).isdigit():
            # nothing of it is shown: any piece may be part of the password
            hint = "Write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with %40 for @ and %2F for / in a password"
            raise ServerError(f"invalid URL of the PostgreSQL server ({URL})", hint=hint)
        self.name = f"PostgreSQL {place}"
        """Host, port and database; never user or password."""
        self._conninfo = make_conninfo("", **{**_DEFAULTS, **parts})
        self._secret = str(parts.get("password") or "")
        self._psycopg: Any = psycopg
        self._rows: Any = dict_row
        self._guard = threading.Lock()
        self._idle: list[tuple[Any, float]] = []
        self._held: dict[str, _Held] = {}
        self._threads = ThreadPoolExecutor(_THREADS, "sluicegate-postgres")
        self._closing: list[Callable[[], None]] = []
        self.tables: dict[str, tuple[object, float]] = {}
        """The schemas whose tables are known to be there in their format, by name, and for how long, by the monotonic
        clock."""

    async def call(self, work: Callable[..., T], *given: Any) -> T:
        """Do blocking work on another thread, so that the event loop is not blocked.

        It is waited for even where the caller is cancelled meanwhile: what it has begun is done when this raises.
        Threads rather than psycopg's asynchronous connections, which work on the loop itself: it is late by a tenth as
        much, and as many calls are done (`benchmarks/edges.py`). And one connection serves every loop of the process.
        """
        done = asyncio.get_running_loop().run_in_executor(self._threads, functools.partial(work, *given))
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            await asyncio.wait((done,))
            # nobody awaits it any more, and asyncio complains of unretrieved errors
            done.exception()
            raise

    @contextmanager
    def connection(self, run: str = "") -> Generator[Any]:
        """A psycopg connection in autocommit mode whose rows are dictionaries: the one that holds `run` when this
        process does, else one that nobody else uses meanwhile."""
        held = self._held.get(run) if run else None
        if held:
            with held.lock, self._explained():
                yield held.connection
            return
        with self._explained():
            connection = self._take()
            try:
                yield connection
            finally:
                self._give_back(connection)

    @contextmanager
    def apart(self, **parts: Any) -> Generator[Any]:
        """A connection that nobody else ever uses, closed at the end; `parts` stand before those of the URL."""
        from psycopg.conninfo import make_conninfo

        with self._explained():
            made = self._connected(make_conninfo(self._conninfo, **parts), row_factory=self._rows)
            try:
                yield made
            finally:
                made.close()

    def hold(self, run: str) -> bool:
        """Hold a run until `let_go`; False when another process, or another task, does."""
        with self._explained():
            connection = self._take()
        got = False
        try:
            with self._explained():
                got = connection.execute(_LOCK, (run,)).fetchone()["got"]
        finally:
            if not got:
                self._give_back(connection)
        if got:
            self._held[run] = _Held(connection)
        return got

    def let_go(self, run: str) -> None:
        """Release a run."""
        held = self._held.pop(run)
        # a write that nobody waits for any more may be under way
        with held.lock:
            try:
                held.connection.execute(_UNLOCK, (run,))
            except self._psycopg.Error:
                # the lock goes with its connection
                held.connection.close()
        self._give_back(held.connection)

    def held(self, run: str) -> bool:
        """Whether anybody holds a run now."""
        if not self.hold(run):
            return True
        self.let_go(run)
        return False

    def connect(self) -> Any:
        """A psycopg connection of its own, for a library that keeps its connections itself. Raises `psycopg.Error`."""
        made = self._connected(self._conninfo)
        made.autocommit = False
        return made

    def version(self) -> str:
        """The server's version, such as ``16.2``."""
        with self.connection() as connection:
            return connection.execute("SHOW server_version").fetchone()["server_version"].split()[0]

    def on_close(self, stop: Callable[[], None]) -> None:
        """Call this first when the server is closed."""
        self._closing.append(stop)

    def close(self) -> None:
        """Close what is idle, and end the threads that wait for work; the next call has them anew."""
        for stop in self._closing:
            stop()
        with self._guard:
            idle, self._idle = self._idle, []
            threads, self._threads = self._threads, ThreadPoolExecutor(_THREADS, "sluicegate-postgres")
        threads.shutdown(wait=False)
        for connection, _ in idle:
            connection.close()

    def _take(self) -> Any:
        while True:
            with self._guard:
                connection, since = self._idle.pop() if self._idle else (None, 0.0)
            if connection is None:
                made = self._connected(self._conninfo, row_factory=self._rows)
                # what is read after a lock must not be older than the lock
                made.execute("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED")
                return made
            if time.monotonic() - since < _DOUBTFUL_S:
                return connection
            with suppress(self._psycopg.Error):
                connection.execute("SELECT 1")
                return connection
            connection.close()

    def _connected(self, conninfo: str, **how: Any) -> Any:
        made = self._psycopg.connect(conninfo, autocommit=True, **how)
        made.execute(_ALIVE)
        return made

    def _give_back(self, connection: Any) -> None:
        whole = connection.info.transaction_status == self._psycopg.pq.TransactionStatus.IDLE
        with self._guard:
            if whole and len(self._idle) < _IDLE:
                self._idle.append((connection, time.monotonic()))
                return
        connection.close()
        if not whole:
            # the cause has likely ended the others too
            with self._guard:
                self._idle = [(other, 0.0) for other, _ in self._idle]

    @contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except self._psycopg.Error as error:
            state = str(error.sqlstate or "")
            hint = (
                _MENDS.get(state)
                or _MENDS.get(state[:2])
                or f"Check that the server is running and that {URL} is correct"
            )
            raise ServerError(f"{self.name} failed: {self._words(error, state)}", hint=hint) from None

    def _words(self, error: Exception, state: str) -> str:
        """The error as a message; the server's own text only where it cannot contain stored data."""
        operational = isinstance(error, self._psycopg.OperationalError)
        if not operational or (state and state[:2] not in ("08", "28", "3D", "57")):
            return f"{type(error).__name__}{f' ({state})' if state else ''}"
        text = str(error).strip().splitlines()[0].strip()
        return text.replace(self._secret, "…") if self._secret else text


@functools.cache
def server(url: str) -> Server:
    """The server at `url`, one for each process."""
    made = Server(url)
    atexit.register(made.close)
    return made


def configured() -> Server | None:
    """The server that `URL` names, or None: then everything is in the home. Raises `ServerError` SG625."""
    url = os.environ.get(URL, "")
    if os.environ.get(_FORMER, "") not in ("", url):
        # not ignored: budgets that machines share would become one per machine
        raise ServerError(f"{_FORMER} is no longer read", hint=f"Name the server in {URL}: all is shared on one")
    return server(url) if url else None
