"""Where traces are kept: in the home, or on the server that machines share, whole or without the observations.

`open_store` is how a store is opened for whatever this machine is configured to use.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from sluicegate.errors import RunError
from sluicegate.home import home
from sluicegate.observe.tracing.spans import Record
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.tracing.storing.delivery import ON_SERVER, trace_delivery
from sluicegate.observe.tracing.storing.user_key import user_key
from sluicegate.observe.tracing.storing.writes import Writes, confirmed_rows, pruned, rows_of, span_rows
from sluicegate.storage.postgres import Server, configured

__all__ = ["TRACES", "SharedRuns", "SharedStore", "open_store"]

TRACES = "SLUICEGATE_TRACES"
"""Where observations are kept while machines share a server: `server` (the default) or `machine`."""


class SharedStore(Store):
    """The traces of all machines of a server. What is written is in the home first, and on the server soon; what this
    machine has written is there before it reads.

    Raises `RunError` SG606 to SG608 of the home; SG612 and SG625 of the server.
    """

    sql = ON_SERVER

    def __init__(self, server: Server) -> None:
        self.path = server.name
        self._delivery = trace_delivery(home(), server)
        self._closed = False
        # fetched once, and here: the first run would ask for it on the event loop
        user_key()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._delivery.release()

    def settle(self) -> None:
        """Raises `RunError` SG625 when it cannot be brought there now."""
        self._delivery.deliver()

    def write(self, writes: Writes) -> None:
        self._delivery.add(rows_of(writes) | span_rows(writes))

    def delivered(self, destination: str, counts: Mapping[str, int], *, whole: bool = False) -> None:
        self._delivery.add(confirmed_rows(destination, counts, whole=whole))

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        self._delivery.deliver()
        with self._delivery.database.reading() as execute:
            return execute(sql, values)

    def prune(self, before_ns: int, workflow: str) -> int:
        self._delivery.deliver()
        with self._delivery.database.writing() as execute:
            # of homes that have sent nothing for so long, as those of containers that are gone; numbers are times
            execute("DELETE FROM trace_senders WHERE sent < ?", (before_ns,))
            return pruned(execute, before_ns, workflow, self.sql)


class SharedRuns(SharedStore):
    """The runs and scores of all machines; of the observations, this machine's. For those who have them joined by
    Langfuse or a collector, which are sent what is here."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._own = Store()

    def close(self) -> None:
        super().close()
        self._own.close()

    def write(self, writes: Writes) -> None:
        self._own.write(writes)
        self._delivery.add(rows_of(writes))

    def delivered(self, destination: str, counts: Mapping[str, int], *, whole: bool = False) -> None:
        self._own.delivered(destination, counts, whole=whole)

    def undelivered(self, destination: str, *, since_ns: int = 0) -> list[str]:
        return self._own.undelivered(destination, since_ns=since_ns)

    def spans(self, run_id: str) -> list[dict[str, Any]]:
        return self._own.spans(run_id)

    def root(self, run_id: str) -> Record | None:
        return self._own.root(run_id)

    def decisions(self, run_id: str) -> list[dict[str, Any]]:
        return self._own.decisions(run_id)

    def model_calls(self, run_id: str) -> list[dict[str, Any]]:
        return self._own.model_calls(run_id)

    def since(self, seq: int) -> list[dict[str, Any]]:
        return self._own.since(seq)

    def last(self) -> int:
        return self._own.last()


def open_store() -> Store:
    """The store of this machine's runs, or of all machines' that share its server. Raises `RunError` as the stores do,
    and SG715 for a choice that is none."""
    chosen = os.environ.get(TRACES, "") or "server"
    if chosen not in ("server", "machine"):
        raise RunError("SG715", f"{TRACES} is {chosen!r}", hint="Choose server or machine")
    server = configured()
    if server is None:
        return Store()
    return SharedStore(server) if chosen == "server" else SharedRuns(server)
