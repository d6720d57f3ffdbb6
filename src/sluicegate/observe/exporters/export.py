"""Exporters: copies of traces for other systems, sent from a thread of their own.

An exporter never delays or breaks a run. Its queue is bounded; an unreachable or slow server is retried with growing
pauses while there is room, a refusing one is not. What is dropped is counted with its reason, and since the
store notes only what a server confirmed, `trace push` finds and sends it later.
"""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sluicegate.observe.tracing.exporter import Confirm, ExporterReport
from sluicegate.observe.tracing.spans import Record, Trace
from sluicegate.observe.tracing.withholding import trace_without_texts

__all__ = ["QueuedExporter", "Rejected", "SendError", "Sender", "Withholding"]

log = logging.getLogger(__name__)


class SendError(Exception):
    """A destination did not take a batch: `again` when it may later, `too_large` when it may in smaller pieces."""

    def __init__(self, reason: str, *, again: bool = False, too_large: bool = False, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.again = again
        self.too_large = too_large
        self.status = status


@dataclass(frozen=True, slots=True)
class Rejected:
    """What a destination left out of a batch that it took."""

    count: int
    reason: str


class Sender(Protocol):
    """The protocol of one destination; used from one thread at a time."""

    destination: str
    overwrites: bool
    """Whether an observation that is sent again takes the place of the first."""

    def send(self, traces: list[Trace]) -> Rejected | None:
        """Send synchronously, within some seconds. Raises `SendError`; sending must be idempotent."""
        ...

    def close(self) -> None: ...


class Withholding:
    """A `Sender` that leaves the texts out of the runs of which `withheld` is true, or cannot be told.

    It is asked on the exporter's thread, where it delays no run.
    """

    def __init__(self, sender: Sender, withheld: Callable[[Trace], bool]) -> None:
        self.destination, self.overwrites = sender.destination, sender.overwrites
        self._sender, self._withheld = sender, withheld
        self.close = sender.close

    def send(self, traces: list[Trace]) -> Rejected | None:
        return self._sender.send([self._readable(trace) for trace in traces])

    def _readable(self, trace: Trace) -> Trace:
        try:
            withheld = self._withheld(trace)
        except Exception:
            withheld = True
        return trace_without_texts(trace) if withheld else trace


class QueuedExporter:
    """An `Exporter` around a `Sender`. `capacity` and `batch` count observations and scores.

    What ends within `linger_s` is sent together, sooner when it is enough for a batch or somebody flushes. A batch is
    dropped after `attempts`, so that one which a server cannot process does not block the rest.
    """

    def __init__(
        self,
        sender: Sender,
        *,
        capacity: int = 10_000,
        batch: int = 500,
        attempts: int = 8,
        first_pause_s: float = 0.5,
        linger_s: float = 1.0,
    ) -> None:
        self._sender = sender
        self._capacity = capacity
        self._batch = batch
        self._attempts = attempts
        self._first_pause_s = first_pause_s
        self._linger_s = linger_s
        self._queue: deque[Trace] = deque()
        self._waiting = 0
        self._sent = 0
        self._dropped = 0
        self._reason = ""
        self._confirm: Confirm = _ignore
        self._changed = threading.Condition()
        self._hurry = False
        self._failures = 0
        self._failed_ns = 0
        self._told = 0
        self._failing = False
        self._closed = False
        self._thread: threading.Thread | None = None

    @property
    def destination(self) -> str:
        return self._sender.destination

    @property
    def overwrites(self) -> bool:
        return self._sender.overwrites

    def start(self, confirm: Confirm) -> None:
        self._confirm = confirm

    def offer(self, trace: Trace) -> None:
        size = _size(trace)
        with self._changed:
            if self._closed or self._waiting + size > self._capacity:
                self._drop(size, "closed" if self._closed else self._reason or "the queue is full")
                return
            self._queue.append(trace)
            self._waiting += size
            if self._thread is None:
                name = f"sluicegate-export {self._sender.destination}"
                self._thread = threading.Thread(target=self._work, name=name, daemon=True)
                self._thread.start()
            if len(self._queue) == 1 or self._waiting >= self._batch:
                self._changed.notify_all()

    def flush(self, deadline_s: float) -> bool:
        with self._changed:
            failures, self._hurry = self._failures, True
            self._changed.notify_all()
            # a server that has just refused or failed is not waited for
            self._changed.wait_for(lambda: self._waiting == 0 or self._failures > failures, deadline_s)
            self._hurry = False
            return self._waiting == 0

    def close(self, deadline_s: float) -> None:
        self.flush(deadline_s)
        with self._changed:
            self._closed = True
            if self._waiting:
                self._drop(self._waiting, self._reason or "not sent in time")
                self._waiting = 0
                self._queue.clear()
            if self._dropped > self._told:
                self._told = self._dropped
                log.warning(
                    "%s: %d observations and scores were not sent (%s); they are in the local store, for `sluicegate "
                    "trace push`",
                    *(self.destination, self._dropped, self._reason),
                )
            self._changed.notify_all()
        if self._thread is not None:
            # a request in progress may outlive the deadline; its thread is a daemon
            self._thread.join(0.1)

    def report(self) -> ExporterReport:
        with self._changed:
            counts = self._sent, self._dropped, self._reason, self._waiting, self._failed_ns
            return ExporterReport(self._sender.destination, *counts)

    def _work(self) -> None:
        try:
            while batch := self._next():
                self._deliver(batch)
        finally:
            self._sender.close()

    def _next(self) -> list[Trace]:
        """The next batch, when there is one; empty when the exporter was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            self._changed.wait_for(lambda: self._closed or self._hurry or self._waiting >= self._batch, self._linger_s)
            return [] if self._closed else self._take()

    def _deliver(self, batch: list[Trace]) -> None:
        """Send a batch with retries; it counts as waiting until it is sent or dropped."""
        size = sum(map(_size, batch))
        counts: Counter[str] = Counter()
        for attempt in range(self._attempts):
            try:
                counts = self._send(batch)
                break
            except SendError as error:
                if not self._pause(attempt, size, error.reason):
                    return
            except Exception as error:
                # an internal error: the batch is lost, but the thread and the next batches are not
                with self._changed:
                    self._drop(size, f"{type(error).__name__}: {error}")
                break
        if counts:
            self._confirm(self._sender.destination, dict(counts))
        with self._changed:
            self._waiting = max(0, self._waiting - size)
            self._changed.notify_all()

    def _pause(self, attempt: int, size: int, reason: str) -> bool:
        """Wait for the next attempt; after the last one the batch is dropped. False when the exporter was closed."""
        with self._changed:
            self._reason = reason
            self._failures += 1
            self._failed_ns = time.time_ns()
            self._changed.notify_all()
            if attempt and not self._failing:
                # once an outage; a command that ends at the first failure says at its end what was not sent
                self._failing = True
                log.warning("%s takes no traces (%s): runs go on, it is tried again", self.destination, reason)
            if attempt + 1 == self._attempts and not self._closed:
                self._drop(size, reason)
                return True
            # a flush hurries the next attempt, but does not turn the loop into a busy one
            self._changed.wait_for(lambda: self._closed or self._hurry, min(30.0, self._first_pause_s * 2**attempt))
            self._hurry = False
            return not self._closed

    def _take(self) -> list[Trace]:
        batch: list[Trace] = []
        size = 0
        while self._queue and (not batch or size + _size(self._queue[0]) <= self._batch):
            trace = self._queue.popleft()
            size += _size(trace)
            batch.append(trace)
        return batch

    def _send(self, batch: list[Trace]) -> Counter[str]:
        """Send a batch, in pieces when it is too large. Raises `SendError` only for what may work later."""
        counts: Counter[str] = Counter()
        try:
            refused = self._sender.send(batch)
        except SendError as error:
            if error.again:
                raise
            pieces = _halves(batch) if error.too_large else []
            for piece in pieces:
                counts += self._send(piece)
            if not pieces:
                with self._changed:
                    self._drop(sum(map(_size, batch)), error.reason)
            return counts
        for trace in batch if refused is None else []:
            counts[trace.info.run_id] += _size(trace)
        with self._changed:
            if self._failing:
                self._failing = False
                log.warning("%s takes traces again; %d were dropped so far", self.destination, self._dropped)
            self._sent += sum(map(_size, batch)) - (refused.count if refused else 0)
            self._reason = self._reason if self._dropped else ""
            if refused:
                self._drop(refused.count, refused.reason)
        return counts

    def _drop(self, size: int, reason: str) -> None:
        self._dropped += size
        self._reason = reason


def _ignore(destination: str, counts: dict[str, int]) -> None: ...


def _size(trace: Trace) -> int:
    return len(trace.records) + len(trace.scores)


_SHRUNK = 1000


def _halves(batch: list[Trace]) -> list[list[Trace]]:
    """Two smaller batches; one observation alone is shrunk once, and given up when it is small already."""
    if len(batch) > 1:
        middle = len(batch) // 2
        return [batch[:middle], batch[middle:]]
    trace = batch[0]
    if len(trace.records) > 1:
        middle = len(trace.records) // 2
        first = Trace(trace.info, trace.records[:middle], [])
        return [[first], [Trace(trace.info, trace.records[middle:], trace.scores)]]
    if not trace.records or not any(_long(value) for value in trace.records[0].attributes.values()):
        return []
    return [[Trace(trace.info, [_shrunk(trace.records[0])], trace.scores)]]


def _long(value: object) -> bool:
    return not isinstance(value, bool | int | float) and len(str(value)) > _SHRUNK + 100


def _shrunk(record: Record) -> Record:
    attributes = {
        key: f"{str(value)[:_SHRUNK]}… [cut: too large for the server]" if _long(value) else value
        for key, value in record.attributes.items()
    }
    return Record(
        record.id,
        record.parent,
        record.name,
        record.type,
        attributes,
        start_ns=record.start_ns,
        end_ns=record.end_ns,
        level=record.level,
        message=record.message,
    )
