"""Brings what a home has recorded to the server, in batches, in order and once.

What is recorded is in the home before a run goes on or an answer is given, as it is where there is no server: no run
waits for the server because of its trace, and a server that is away loses none. It goes there at once, with whatever
else has come meanwhile; when the server is away, as soon as it is back. The server keeps the number up to which it has
each home's, in the transaction that writes them: a process that is killed in between sends nothing twice, and processes
of a home take turns.
"""

import threading
from pathlib import Path

from sluicegate.observe.delivering import DeliveryThread, OpenDeliveries
from sluicegate.observe.tracing.storing.unsent import Unsent
from sluicegate.observe.tracing.storing.writes import Dialect, WrittenRows, apply, to_json
from sluicegate.storage.database import PostgresDatabase
from sluicegate.storage.postgres import Server
from sluicegate.storage.schemas import SHARED_TRACES

__all__ = ["ON_SERVER", "TraceDelivery", "trace_delivery"]

_PAUSE_S = 0.05
"""How long what is recorded waits for more of it."""
_BATCH = 200


def _value(value: float | bool | str) -> str:
    # a file has no booleans
    return to_json(int(value) if isinstance(value, bool) else value)


ON_SERVER = Dialect(
    decisions="run_decisions",
    deliveries="trace_deliveries",
    spans="spans",
    recorded="count(*)",
    day="to_char(to_timestamp(started_ns / 1000000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
    scored="seq",
    changed="INSERT INTO changes (run_id) VALUES (?) ON CONFLICT (run_id) DO UPDATE SET seq = DEFAULT",
    last_change="SELECT coalesce(max(seq), 0) AS seq FROM changes",
    in_order="traces",
    value=_value,
)


class TraceDelivery:
    """One for each home and server of a process; `trace_delivery` gives it. Safe to use from any thread."""

    def __init__(self, folder: Path, server: Server) -> None:
        """Raises `RunError` SG606 to SG608 of the home, SG612 and SG625 of the server."""
        self.database = PostgresDatabase(server, SHARED_TRACES)
        self._unsent = Unsent(folder)
        self._folder = folder
        self._turn = threading.Lock()
        self._sender = DeliveryThread("sluicegate-traces", self.deliver, every_s=_PAUSE_S, what=f"traces of {folder}")
        self.users = 0
        if self._unsent.any():
            # of a process that was killed, or of a time when the server was away
            self._sender.wake()

    def add(self, rows: WrittenRows) -> None:
        """Keep rows, and send them soon. Raises `RunError` SG606 to SG608 of the home."""
        self._unsent.add(rows)
        self._sender.wake()

    def deliver(self) -> None:
        """Send what is not sent yet. Raises `RunError` SG606 to SG608 of the home, SG625 of the server."""
        if not self._unsent.any():
            return
        with self._turn:
            while batch := self._unsent.first(_BATCH):
                self._send(batch)

    def release(self) -> None:
        """One user less; the last one sends what is left. What cannot be sent now, the next process of the home
        sends."""
        if _open.release(self):
            self._unsent.close()

    def end(self) -> None:
        """Send what is left, and end the thread. What users that are left record after that is sent too."""
        self._sender.stop(self.deliver)

    def _send(self, batch: list[tuple[int, WrittenRows]]) -> None:
        with self.database.writing() as execute:
            # the row is the lock of a home's processes
            (known,) = execute(_TURN, (self._unsent.sender,))
            for number, rows in batch:
                if number > known["sent"]:
                    apply(execute, rows, ON_SERVER)
            last = max(known["sent"], batch[-1][0])
            execute.many("UPDATE trace_senders SET sent = ? WHERE sender = ?", [(last, self._unsent.sender)])
        self._unsent.sent([number for number, _ in batch])


_TURN = (
    "INSERT INTO trace_senders (sender, sent) VALUES (?, 0) "
    "ON CONFLICT (sender) DO UPDATE SET sent = trace_senders.sent RETURNING sent"
)


_open: OpenDeliveries[TraceDelivery] = OpenDeliveries()


def trace_delivery(folder: Path, server: Server) -> TraceDelivery:
    """The delivery of a home to a server, shared by all stores of this process that have the home open; `release` it.
    Raises as `TraceDelivery` does."""
    return _open.get(folder, server, lambda: TraceDelivery(folder, server))
