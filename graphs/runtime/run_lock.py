"""One process works on a run at a time.

A second one that resumed the same run would repeat its node and pay its model calls twice. In a home the lock is one
byte of one file, at an offset that the run id gives: it costs no file per run, and the system drops it when its process
dies, however it dies. On a server it is a lock of the connection that writes the run.
"""

import hashlib
import os
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from sluicegate.errors import LockedError, RunError
from sluicegate.state import State
from sluicegate.storage.database import Place
from sluicegate.storage.file_lock import try_lock_byte, unlock_byte
from sluicegate.storage.postgres import Server

__all__ = ["Presence", "RunBusy", "hold", "present"]


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
    held = _HeldRun(where, run)
    try:
        await where.call(held.take)
        yield
    finally:
        # also where the taking was cancelled, and had its way
        await where.call(held.let_go)


class _HeldRun:
    """A run that this process works on, on a server."""

    def __init__(self, server: Server, run: str) -> None:
        self._server, self._run, self._held = server, run, False

    def take(self) -> None:
        self._held = self._server.hold(self._run)
        if not self._held:
            raise _busy(self._run)

    def let_go(self) -> None:
        if self._held:
            self._server.let_go(self._run)


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
