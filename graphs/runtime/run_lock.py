"""One process works on a run at a time.

A second one that resumed the same run would repeat its node and pay its model calls twice. In a home the lock is one
byte of one file, at an offset that the run id gives: it costs no file per run, and the system drops it when its process
dies, however it dies. On a server it is a lock of the connection that writes the run, plus a row: a row whose lock
nobody holds is an interrupted run.
"""

import functools
import hashlib
import os
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

from sluicegate.errors import LockedError, RunError
from sluicegate.state import State
from sluicegate.storage.database import Place, PostgresDatabase
from sluicegate.storage.file_lock import try_lock_byte, unlock_byte
from sluicegate.storage.postgres import Server
from sluicegate.storage.run_ids import root_run
from sluicegate.storage.schemas import RUNS_AT_WORK

__all__ = ["Presence", "RunBusy", "hold", "interrupted_runs", "present"]


class RunBusy(LockedError):  # noqa: N818 - said of the run
    """Another process, or another task, is running this run."""


_guard = threading.Lock()
_files: dict[tuple[int, Path], int] = {}
"""An open file per home and process: closing any descriptor of it would drop every lock of the process."""
_held: set[tuple[int, Path, str]] = set()


@asynccontextmanager
async def hold(where: Place, state: State) -> AsyncGenerator[None]:
    """Hold the run of `state` while the block lasts. Raises `RunBusy` (SG608) when another process, or another task,
    holds it."""
    run = state["run"]["id"]
    if not isinstance(where, Server):
        with _locked(where, run):
            yield
        return
    held = _HeldRun(where, state)
    try:
        await where.call(held.take)
        yield
    except BaseException as error:
        # one that is cancelled, as by a closing service, is interrupted, and continues elsewhere
        await where.call(held.give_back, isinstance(error, Exception))
        raise
    await where.call(held.give_back, True)


class _HeldRun:
    """A run that this process works on, and its row on the server."""

    def __init__(self, server: Server, state: State) -> None:
        run = state["run"]
        self._server, self._run, self._held = server, run["id"], False
        self._row = (run["id"], run["workflow"], run["digest"], state["request"]["channel"])

    def take(self) -> None:
        rows = _at_work(self._server)
        self._held = self._server.hold(self._run)
        if not self._held:
            raise _busy(self._run)
        if root_run(self._run) != self._run:
            return  # whoever resumes its parent resumes it
        with rows.writing(self._run) as execute:
            execute("INSERT INTO stretches VALUES (?, ?, ?, ?) ON CONFLICT (run) DO NOTHING", self._row)

    def give_back(self, ended: bool) -> None:
        if not self._held:
            return
        if ended:
            # a run whose end could not be recorded counts as interrupted
            with suppress(RunError), _at_work(self._server).writing(self._run) as execute:
                execute("DELETE FROM stretches WHERE run = ?", (self._run,))
        self._server.let_go(self._run)


@functools.cache
def _at_work(server: Server) -> PostgresDatabase:
    return PostgresDatabase(server, RUNS_AT_WORK)


def interrupted_runs(server: Server, workflow: str, channel: str) -> list[tuple[str, str]]:
    """Run and digest of interrupted runs of any machine that shares this server."""
    with _at_work(server).reading() as execute:
        rows = execute("SELECT run, digest FROM stretches WHERE workflow = ? AND channel = ?", (workflow, channel))
    return [(row["run"], row["digest"]) for row in rows if not server.held(row["run"])]


class Presence:
    """A name of this process, by which others of the home or server know whether it lives; held until it ends."""

    def __init__(self, where: Place, name: str) -> None:
        """Raises `RunBusy` when the name is taken."""
        self._where, self._name = where, name
        self._held = ExitStack()
        if not isinstance(where, Server):
            self._held.enter_context(_locked(where, name))
        elif where.hold(name):
            self._held.callback(where.let_go, name)
        else:
            raise _busy(name)

    def lasts(self) -> bool:
        """Whether it is still held: a connection may have been lost."""
        if not isinstance(self._where, Server):
            return True
        try:
            with self._where.connection(self._name) as connection:
                connection.execute("SELECT 1")
        except RunError:
            self.end()
            return False
        return True

    def end(self) -> None:
        self._held.close()


def present(where: Place, name: str) -> bool:
    """Whether a process of this name lives."""
    if isinstance(where, Server):
        return where.held(name)
    try:
        with _locked(where, name):
            return False
    except RunBusy:
        return True


@contextmanager
def _locked(home: Path, run: str) -> Generator[None]:
    process = os.getpid()
    place = (process, home, run)
    with _guard:
        if place in _held:
            raise _busy(run)
        # after a fork the parent's descriptor must not be shared
        if (process, home) not in _files:
            _files[process, home] = os.open(home / "runs.lock", os.O_RDWR | os.O_CREAT, 0o600)
        file = _files[process, home]
        if not try_lock_byte(file, _offset(run)):
            raise _busy(run)
        _held.add(place)
    try:
        yield
    finally:
        with _guard:
            _held.discard(place)
            unlock_byte(file, _offset(run))


def _offset(run: str) -> int:
    # below 16 TiB, where some file systems end: Windows locks a byte by moving to it
    return int.from_bytes(hashlib.sha256(run.encode()).digest()[:5])


def _busy(run: str) -> RunBusy:
    return RunBusy(f"run {run} is in progress elsewhere", hint="Wait until it is done, then try again")
