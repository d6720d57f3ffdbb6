"""Several processes on one port: a supervisor that binds it and starts workers, each a complete server.

The workers share the listening socket. A connection that nobody has taken yet stays in its queue when a worker is
killed, which would be lost with a socket for each (``SO_REUSEPORT``), and who has time takes the next one.

A worker that dies is replaced, after a pause that grows while it keeps dying; when the first cannot begin, the server
ends as it would without workers. SIGTERM and SIGINT are passed on, and the workers drain; when the supervisor is
killed, they drain too.
"""

import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Pipe, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

from sluicegate.errors import RunError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection, PipeConnection

    PipeEnd = Connection[Any, Any] | PipeConnection[Any, Any]

__all__ = ["Work", "supervise"]

_CALM_S = 60.0
"""A worker that has lived so long is replaced at once; it is the longest pause, too."""
_METRICS = "PROMETHEUS_MULTIPROC_DIR"
"""Where prometheus-client keeps the counts of each process in a file, which outlives it."""

log = logging.getLogger(__name__)


class Work(Protocol):
    """What a worker does until it is told to end. It must be picklable."""

    def __call__(self, listening: socket.socket, ready: Callable[[str], None]) -> None:
        """`ready` is called once requests are taken, with what is to be told of it."""
        ...


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    news: "PipeEnd"
    began: float
    ready: bool = False


class _Supervisor:
    def __init__(self, work: Work, listening: socket.socket, count: int, started: Callable[[str], None]) -> None:
        self._work, self._listening, self._started = work, listening, started
        # a fork would have the threads and the locks of whatever is imported
        self._processes = multiprocessing.get_context("spawn")
        self._slots: list[_Worker | None] = [None] * count
        self._deaths = [0] * count
        self._not_before = [0.0] * count
        self._ending = False
        self._signals: list[int] = []
        """Those that came, and were not passed on yet."""
        self._wakes, self._waker = Pipe(duplex=False)
        self._served = False
        self.status = 0

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        while True:
            while self._signals:
                self._end(self._signals.pop(0))
            self._start_due()
            living = [worker for worker in self._slots if worker]
            if self._ending and not living:
                return
            due = [at for at, worker in zip(self._not_before, self._slots, strict=True) if worker is None]
            pause = None if self._ending or not due else max(0.0, min(due) - time.monotonic())
            seen = wait(
                [self._wakes, *(each.process.sentinel for each in living), *(each.news for each in living)], pause
            )
            if self._wakes in seen:
                self._wakes.recv()
            for slot, worker in enumerate(self._slots):
                if worker and worker.news in seen:
                    self._heard(worker)
                if worker and worker.process.sentinel in seen:
                    self._died(slot, worker)

    def _start_due(self) -> None:
        for slot, worker in enumerate(self._slots):
            if worker is None and not self._ending and time.monotonic() >= self._not_before[slot]:
                ours, its = Pipe(duplex=False)
                process = self._processes.Process(target=_inside, args=(self._work, self._listening, its))
                process.start()
                its.close()
                self._slots[slot] = _Worker(process, ours, time.monotonic())

    def _heard(self, worker: _Worker) -> None:
        try:
            told: str = worker.news.recv()
        except EOFError:
            return  # it has died, which its sentinel says
        worker.ready = True
        if not self._served:
            self._served = True
            self._started(told)

    def _died(self, slot: int, worker: _Worker) -> None:
        worker.process.join()
        worker.news.close()
        self._slots[slot] = None
        status = worker.process.exitcode or 0
        _forget(worker.process.pid)
        if self._ending:
            # one that had not begun yet is ended by the signal itself
            if status and (worker.ready or status != -signal.SIGTERM):
                # that of the first, where it could not begin
                self.status = self.status or 1
            return
        if not worker.ready and not self._served:
            self.status = status if status > 0 else 1
            self._end(signal.SIGTERM)
            return
        lived = time.monotonic() - worker.began
        self._deaths[slot] = 0 if lived > _CALM_S else self._deaths[slot] + 1
        pause = min(2.0 ** (self._deaths[slot] - 1), _CALM_S) if self._deaths[slot] > 1 else 0.0
        self._not_before[slot] = time.monotonic() + pause
        log.error("worker %d ended with %s; another one starts in %g s", worker.process.pid, status, pause)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._signals.append(number)
        self._waker.send(None)

    def _end(self, number: int) -> None:
        self._ending = True
        # the workers have the port until they close it; nobody waits in its queue after that
        self._listening.close()
        for worker in self._slots:
            if worker:
                with suppress(ProcessLookupError):
                    assert worker.process.pid
                    os.kill(worker.process.pid, number if worker.ready else signal.SIGTERM)


def supervise(work: Work, listening: socket.socket, count: int, *, started: Callable[[str], None]) -> int:
    """Have so many processes work on `listening` until SIGTERM or SIGINT; the exit status.

    0 when all have drained, else 1, or the status of the first worker when it could not begin. `started` gets what the
    first one that is ready tells. Raises `RunError` SG624 where there are no POSIX processes.
    """
    if not hasattr(os, "setsid"):
        raise RunError("SG624", "several workers need a POSIX system", hint="Leave out --workers")
    with tempfile.TemporaryDirectory(prefix="sluicegate-metrics-") as folder:
        os.environ[_METRICS] = folder
        supervisor = _Supervisor(work, listening, count, started)
        supervisor.run()
    return supervisor.status


def _inside(work: Work, listening: socket.socket, news: "PipeEnd") -> None:
    """In the worker."""
    # Ctrl-C is for the supervisor, which passes it on
    os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    work(listening, news.send)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _forget(pid: int | None) -> None:
    """What was true of a process at the moment is so no more; its counts stay."""
    from prometheus_client.multiprocess import mark_process_dead  # pyright: ignore[reportUnknownVariableType]

    mark_process_dead(pid)
