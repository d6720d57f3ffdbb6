"""How what a home has recorded gets to the server that machines share: soon, on a thread, by one for all its users."""

import functools
import logging
import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Generic, Protocol, TypeVar
from weakref import WeakSet

from sluicegate.errors import RunError
from sluicegate.storage.postgres import Server

__all__ = ["DeliveryThread", "OpenDeliveries"]

_LOG = logging.getLogger(__name__)
_LONGEST_S = 30.0
"""Between two attempts while the server is away."""


class DeliveryThread:
    """A thread that sends what has come, and tries again, ever more rarely, while that fails. It begins when it is
    first woken. Safe to use from any thread."""

    def __init__(self, name: str, send: Callable[[], object], *, every_s: float, what: str) -> None:
        """`send` sends everything, and may raise `RunError` or `OSError`; what comes waits for more of it for
        `every_s`. The log says of `what` that it is not on the server."""
        self._name, self._send, self._every_s, self._what = name, send, every_s, what
        self._guard = threading.Lock()
        self._wake, self._closing = threading.Event(), threading.Event()
        self.thread: threading.Thread | None = None

    def wake(self) -> None:
        """Something has come."""
        with self._guard:
            if self.thread is None:
                self.thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self.thread.start()
            self._wake.set()

    def stop(self, last: Callable[[], object]) -> None:
        """End the thread, and then send what is left, by `last`; when it is woken after that another one begins."""
        thread = self.thread
        self._closing.set()
        self._wake.set()
        if thread:
            thread.join()
        with self._guard:
            self.thread = None
            self._wake.clear()
            self._closing.clear()
        try:
            last()
        except (RunError, OSError) as error:
            self._warn(error)

    def _work(self) -> None:
        pause = self._every_s
        while True:
            self._wake.wait()
            if self._closing.wait(pause):
                return
            self._wake.clear()
            # who stops it sets this first, and may have woken it just before
            if self._closing.is_set():
                return
            try:
                self._send()
                pause = self._every_s
            except (RunError, OSError) as error:
                if pause == self._every_s:
                    self._warn(error)
                pause = min(2 * pause, _LONGEST_S)
                self._wake.set()

    def _warn(self, error: Exception) -> None:
        _LOG.warning("%s are not on the server yet: %s", self._what, error)


class _Delivery(Protocol):
    users: int

    def end(self) -> None:
        """Send what is left. Ending again changes nothing."""
        ...


D = TypeVar("D", bound=_Delivery)


class OpenDeliveries(Generic[D]):
    """Those of one kind that this process has open, one for each home and server. Safe to use from any thread."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, str, Server], D] = {}
        self._ending: WeakSet[Server] = WeakSet()
        """Those that end what is delivered to them when they are closed, which the process does at its end."""
        self._guard = threading.Lock()

    def get(self, folder: Path, server: Server, make: Callable[[], D]) -> D:
        """The one of this home and server, shared by its users; `release` it. Raises what `make` does."""
        name = (os.getpid(), str(folder.resolve()), server)
        with self._guard:
            if name not in self._open:
                if server not in self._ending:
                    server.on_close(functools.partial(self._end_all, weakref.ref(server)))
                    self._ending.add(server)
                self._open[name] = make()
            self._open[name].users += 1
            return self._open[name]

    def of(self, server: Server) -> list[D]:
        """Those that this process has open to a server."""
        return [one for (process, _, to), one in self._open.items() if process == os.getpid() and to is server]

    def release(self, one: D) -> bool:
        """One user less; whether it was the last one, which ends it."""
        with self._guard:
            one.users -= 1
            if one.users > 0:
                return False
            self._take_out([one])
        one.end()
        return True

    def _end_all(self, of: "weakref.ref[Server]") -> None:
        """No thread goes on writing to a server that is closed."""
        with self._guard:
            ended = self.of(server) if (server := of()) else []
            self._take_out(ended)
        for one in ended:
            one.end()

    def _take_out(self, ended: list[D]) -> None:
        self._open = {name: one for name, one in self._open.items() if one not in ended}
