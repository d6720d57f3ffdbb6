"""The ledger of many machines: each reservation, settling and release is one round trip to PostgreSQL.

The server does all of it in a procedure, under one advisory lock: no other booking overlaps, and a slow client does
not hold up the others. Nor does the disk: a booking is committed without waiting for it, which
ends the lock, and then the procedure waits until it is on the disk, where one flush serves all that wait. The
procedures (`storage.schemas.money`) do what `ledger.BudgetLedger` does by single statements on SQLite; the same tests
run on both. Needs the `postgres` extra, and PostgreSQL 14 or later.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from time import time
from typing import Any

from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.policies.ledger.calls import SLACK_S, Call, Limit, Over
from sluicegate.policies.ledger.ledger import BudgetLedger
from sluicegate.policies.ledger.rows import Room
from sluicegate.storage.database import Execute, PostgresDatabase, PostgresRows
from sluicegate.storage.postgres import Server
from sluicegate.storage.schemas import LEDGER

__all__ = ["PostgresLedger", "PostgresStore"]


class PostgresStore:
    """The ledger's tables and procedures on a server. Raises `RunError` SG625."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.call = server.call
        PostgresDatabase(server, LEDGER)

    @contextmanager
    def writing(self) -> Generator[Execute]:
        with self._server.connection() as connection, connection.transaction():
            # one writer at a time, as in SQLite: the sums of a check may not change under it
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('sluicegate-ledger'))")
            yield PostgresRows(connection)

    def at_once(self, sql: str, parameters: Sequence[Any] = ()) -> dict[str, Any]:
        """One statement outside of a transaction, in one round trip; its row, when it gives one."""
        with self._server.connection() as connection:
            cursor = connection.execute(sql, parameters or None)
            return cursor.fetchone() if cursor.description else {}

    def close(self) -> None:
        """Nothing of its own is open: the server's connections serve others too."""


class PostgresLedger(BudgetLedger):
    """A ledger on a PostgreSQL server. Raises `RunError` SG625 when it cannot be reached."""

    def __init__(
        self,
        server: Server,
        budget: BudgetConfig | None = None,
        *,
        switch: KillSwitch | None = None,
        now: Callable[[], float] = time,
    ) -> None:
        self._server = PostgresStore(server)
        super().__init__(self._server, budget, switch=switch, now=now)

    def _book(self, call: Call, limits: Sequence[Limit], now: float) -> Over | str:
        undated = call.scopes("", "")
        places = list(undated)
        row = self._server.at_once(
            "CALL sluicegate_reserve_3(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,"
            " %s::text[], %s::int[], %s::boolean[], %s::bigint[], NULL, NULL, NULL, NULL)",
            (
                *(call.id, call.workflow, call.run, call.principal, call.intent, call.model, call.micros, call.tokens),
                *(call.drawn_on, now, self.budget.lease_s, SLACK_S, list(undated.values())),
                [places.index(limit.scope) + 1 for limit in limits],
                [limit.unit == "tokens" for limit in limits],
                [limit.limit for limit in limits],
            ),
        )
        number = int(row["refused"])
        if not number:
            return str(row["booked"])
        limit = limits[number - 1] if number > 0 else None
        return Over(limit, int(row["used"]), float(row["latest"]))

    def _where(self, call: Call, room: Room) -> dict[str, Any]:
        return {**super()._where(call, room), "scopes": [*room.keys.values()]}

    def _end(self, id: str, real: tuple[int, int] | None, now: float) -> None:
        micros, tokens = real or (0, 0)
        self._server.at_once("CALL sluicegate_end_1(%s, %s, %s, %s, %s)", (id, real is not None, micros, tokens, now))
