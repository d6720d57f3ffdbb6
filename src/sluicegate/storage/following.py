"""What every process must know at once, read from the server ahead of need.

A check that decides must neither ask the server, which costs a round trip on the event loop, nor go by what was true
long ago. So one thread of each process reads the documents several times a second over a connection of its own, and a
check looks at what it has read. What was read longer ago than `TRUSTED_S` is not used: a check that finds nothing newer
waits for the thread a moment, and then raises. Whoever treats that as "off" can promise that a change which has been
made holds everywhere `TRUSTED_S` later, whatever happens to the network.
"""

import threading
import time
from dataclasses import dataclass, field, replace
from typing import Any

from sluicegate.errors import RunError
from sluicegate.storage.database import PostgresDatabase
from sluicegate.storage.postgres import Server
from sluicegate.storage.schemas import DOCUMENTS

__all__ = ["TRUSTED_S", "Follower", "follower"]

TRUSTED_S = 1.0
"""Seconds for which what was read is used."""
_EVERY_S = 0.2
"""Seconds between two reads."""
_PATIENCE_S = 0.5
"""Seconds that one caller waits for a server that is late; until it answers again nobody else waits."""
# a connection that the network has forgotten is given up soon, and made anew when there is a network again
_CONNECTION = {"connect_timeout": 2, "tcp_user_timeout": 2000}
_STATEMENT_MS = 2000


@dataclass(frozen=True, slots=True)
class _Known:
    """What was read, replaced as a whole."""

    texts: dict[str, tuple[str, str | None]] = field(default_factory=dict[str, tuple[str, str | None]])
    """By name: version and text."""
    at: float = float("-inf")
    """When the reading began."""
    fault: str = ""
    """Why there is nothing newer."""


class Follower:
    """The documents of one server as this process knows them. Safe to use from any thread."""

    def __init__(self, server: Server) -> None:
        """Raises `RunError` SG612 and SG625 as `PostgresDatabase` does."""
        self.database = PostgresDatabase(server, DOCUMENTS)
        self._server = server
        self._known = _Known()
        self._turn = threading.Condition()
        self._wanted = False
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        server.on_close(self.stop)

    def text(self, name: str) -> str | None:
        """The document of this name as it was at most `TRUSTED_S` ago; None when there is none. Costs a microsecond.

        Raises `RunError` SG690 when the server could not be read for so long.
        """
        known, now = self._known, _elapsed()
        if now - known.at > TRUSTED_S:
            known = self._read_since(now - TRUSTED_S)
            if known.fault:
                raise RunError(
                    "SG690",
                    f"{self._server.name} could not be read for {TRUSTED_S:g} s: {known.fault}",
                    hint="What is switched off there is unknown; check the server and the network to it",
                )
        return known.texts.get(name, ("", None))[1]

    def catch_up(self) -> None:
        """Know what is committed by now, where the server answers in time."""
        self._read_since(_elapsed())

    def age_s(self) -> float:
        """For so long nothing has been read, in seconds; asks nobody. Infinite where nothing ever was."""
        return max(0.0, _elapsed() - self._known.at)

    def stop(self) -> None:
        """End the thread; the next question starts one again."""
        with self._turn:
            thread, self._thread, self._known = self._thread, None, _Known()
            self._stopped.set()
            self._turn.notify_all()
        if thread and thread is not threading.current_thread():
            thread.join()

    def _read_since(self, moment: float) -> _Known:
        """What was read after this moment, or the fault for which it was not."""
        with self._turn:
            # after a fork the thread is the parent's
            if self._thread is None or not self._thread.is_alive():
                self._stopped, self._known = threading.Event(), _Known()
                self._thread = threading.Thread(
                    target=self._follow, args=(self._stopped,), name="sluicegate-following", daemon=True
                )
                self._thread.start()
                patience = sum((_CONNECTION["connect_timeout"], _PATIENCE_S))
            else:
                patience = _PATIENCE_S
            self._wanted = True
            self._turn.notify_all()
            self._turn.wait_for(lambda: self._known.at >= moment or self._known.fault, patience)
            if self._known.at < moment and not self._known.fault:
                self._known = replace(self._known, fault="it does not answer")
            return self._known if self._known.at < moment else replace(self._known, fault="")

    def _follow(self, stopped: threading.Event) -> None:
        while not stopped.is_set():
            try:
                with self._server.apart(**_CONNECTION) as connection:
                    connection.execute(f"SET statement_timeout = {_STATEMENT_MS}")
                    while not stopped.is_set():
                        began = _elapsed()
                        self._publish(_Known(self._read(connection), began), stopped)
            except RunError as error:
                self._publish(replace(self._known, fault=str(error)), stopped)

    def _read(self, connection: Any) -> dict[str, tuple[str, str | None]]:
        """Texts are fetched when their version is another one: a history may be long."""
        versions = {row["name"]: row["version"] for row in connection.execute("SELECT name, version FROM documents")}
        before = self._known.texts
        texts = {name: before[name] for name, version in versions.items() if before.get(name, ("",))[0] == version}
        changed = [name for name in versions if name not in texts]
        if changed:
            found = connection.execute("SELECT name, version, text FROM documents WHERE name = ANY(%s)", (changed,))
            texts |= {row["name"]: (row["version"], row["text"]) for row in found}
        return texts

    def _publish(self, known: _Known, stopped: threading.Event) -> None:
        """Let others know, and wait until it is time for the next reading: at once where somebody asks for it, but a
        server that fails is not asked more often."""
        with self._turn:
            if stopped.is_set():
                return
            self._known, asked = known, not known.fault
            self._turn.notify_all()
            self._turn.wait_for(lambda: stopped.is_set() or (asked and self._wanted), _EVERY_S)
            self._wanted = False


_FOLLOWERS: dict[Server, Follower] = {}
_MAKING = threading.Lock()


def follower(server: Server) -> Follower:
    """The one of this process. Raises as `Follower` does."""
    with _MAKING:
        if server not in _FOLLOWERS:
            _FOLLOWERS[server] = Follower(server)
        return _FOLLOWERS[server]


def _elapsed() -> float:
    """Seconds that also pass while the machine sleeps, where the system counts them."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)
