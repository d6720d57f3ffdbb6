"""DBOS in this process: rows that promise a segment, queues that hand them out, timers; all on the server of the URL.

A segment is one DBOS workflow, without steps inside: our checkpoints have what is inside it, and carrying it again
repeats nothing. Its row has the ids of the run and its version, its result an error's code: no word of a run. The id of
the row is made of queue, run and segment, so promising it again is the same row.

A process has a name, which it holds by a lock of one connection. Whoever sees a row of a process whose name nobody
holds puts it back into its queue. Nothing is sent anywhere: no conductor, no admin server, no telemetry.

Two things that DBOS does not call public are used, for which its version is bounded. Queues of this process alone:
those that it registers in the database have one concurrency for all workers, and are listened to from the start or
never. And its tables, where what is given up is marked, what has failed is told from what is over (`clean`), and a row
of a process that is gone is put back, together with the note that it was there (`suspects`): DBOS itself would count
whatever was beside a run that ends its processes.
"""

import contextvars
import functools
import logging
import math
import os
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import CancelledError
from typing import Any, Protocol, TypeVar, cast

import sqlalchemy
from dbos import DBOS, DBOSPortableJSONSerializer, SetWorkflowID
from dbos import error as dbos_error

from sluicegate.errors import GivenUpError, RunError
from sluicegate.graphs.runtime.loop_thread import wait_for
from sluicegate.graphs.runtime.run_lock import Presence, present
from sluicegate.serving.execution.executor import Queued, Stretch
from sluicegate.serving.execution.suspects import Suspects
from sluicegate.serving.execution.turns import due
from sluicegate.state import Priority
from sluicegate.storage.postgres import Server
from sluicegate.storage.promises import ACTIVE, of_workflow, promises_schema

__all__ = ["DbosEngine", "QueueWorker", "join"]

T = TypeVar("T")

_LOOK_S = 2.0
"""Seconds between two looks for processes that are gone."""
_POLL_S = 0.25
"""Seconds between two looks of a worker into a queue."""
_GIVES_WAY_S = 1
"""Who comes while there is room starts at once, unless something in the queue was due so many seconds earlier: workers
need some of that to see it."""
_SINCE = 1_767_225_600
"""The beginning of 2026, so that DBOS's 32 bits last until 2094."""
_KEPT_S = 3600
"""Seconds for which the row of what is over is kept: somebody may be waiting for it."""
_CLEAN_S = 60.0
_FORMAT = "1"
"""Of the rows: a process takes only rows of its own. For DBOS it is the version of the application."""
_GIVEN_UP = "MAX_RECOVERY_ATTEMPTS_EXCEEDED"

log = logging.getLogger(__name__)


class QueueWorker(Protocol):
    """Who carries what a queue hands out. Its coroutines run on the loop of services."""

    queue: str

    @property
    def leaving(self) -> bool: ...

    async def carry(self, row: str, segment: Stretch) -> dict[str, str]:
        """The result of a segment: nothing, or the `code` of its error. Cancelled, it is put back. Raises
        `GivenUpError`."""
        ...

    async def expire(self, segment: Stretch) -> dict[str, str]: ...


class _PutBack(BaseException):
    """Leaves a row as it is: DBOS writes down how a workflow ended, unless by what is no `Exception`."""


@DBOS.workflow(name="carry", max_recovery_attempts=None)
def _carry(queue: str, run: str, digest: str, began_on: str, after: str) -> dict[str, str]:
    row = cast("str", DBOS.workflow_id)
    return _by_member(queue, row, lambda member: member.carry(row, Stretch(run, digest, began_on, after)))


@DBOS.workflow(name="expire", max_recovery_attempts=None)
def _expire(queue: str, run: str, digest: str, began_on: str, after: str) -> dict[str, str]:
    row = cast("str", DBOS.workflow_id)
    return _by_member(queue, row, lambda member: member.expire(Stretch(run, digest, began_on, after)))


def _by_member(
    queue: str, row: str, work: Callable[[QueueWorker], Coroutine[Any, Any, dict[str, str]]]
) -> dict[str, str]:
    # as it is now: it may be gone before this has come to its end
    engine = _engine
    member = engine and engine.member(queue)
    # what is called from within belongs to no workflow of DBOS
    plain = contextvars.Context()
    if engine and member:
        engine.carried.add(row)
        try:
            result = plain.run(wait_for, work(member))
        except CancelledError:
            pass
        except GivenUpError:
            plain.run(engine.give_up, row)
            raise _PutBack from None
        else:
            return result
        finally:
            engine.carried.discard(row)
    else:
        # a workflow that is served here no more: another process has time to take it
        time.sleep(_LOOK_S)
    try:
        plain.run(DBOS.resume_workflow, row, queue_name=queue)
    except Exception:
        if _engine is engine:
            raise
        # this process has left, and others find out
        log.warning("run %s goes on where this process is found to be gone", _run_of(row))
    raise _PutBack


class DbosEngine:
    """DBOS for all services of this process. Its methods block, and may be called from any thread."""

    def __init__(self, server: Server) -> None:
        """Raises `RunError` SG625."""
        self.server = server
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        with server.connection() as connection:
            self.schema = promises_schema(connection)
        self._ahead_s = self._measured_ahead()
        self._looked: dict[str, tuple[float, int | None]] = {}
        """When queues were looked into, and what was due first in each."""
        self.recovered = Counter[str]()
        """Runs of processes that were gone, by the name of their workflow."""
        self._members: list[QueueWorker] = []
        self.carried = set[str]()
        """The rows of what is carried here."""
        self._suspects = Suspects(server)
        self._presence = Presence(server, self.name)
        self._pool = sqlalchemy.create_engine(
            "postgresql+psycopg://", creator=server.connect, pool_size=8, max_overflow=24, pool_pre_ping=True
        )
        logging.getLogger("dbos").addHandler(logging.NullHandler())
        self._dbos = DBOS(
            config={
                "name": "sluicegate",
                # only its form is looked at: connections come from the pool
                "system_database_url": "postgresql+psycopg://localhost/sluicegate",
                "system_database_engine": self._pool,
                "dbos_system_schema": self.schema,
                "executor_id": self.name,
                "application_version": _FORMAT,
                "serializer": DBOSPortableJSONSerializer(),
                # for messages between workflows, of which there are none
                "use_listen_notify": False,
                "notification_listener_polling_interval_sec": 0.25,
                "log_level": "WARNING",
            }
        )
        self._queues: dict[str, Any] = {}
        # of those in the database, of which there are none
        DBOS.listen_queues([])
        DBOS.launch()
        self._stopping = threading.Event()
        self._watching = threading.Thread(target=self._watch, name="sluicegate-presence", daemon=True)
        self._watching.start()
        self._ending: threading.Thread | None = None

    # --- promising ---

    def start(self, row: str, queue: str, segment: Stretch) -> bool:
        """Promise a segment, and carry it here, now; False where somebody has promised it."""
        return self._once(row, functools.partial(self._start, row, queue, segment))

    def enqueue(self, row: str, queue: str, segment: Stretch) -> bool:
        """Promise a segment, for whoever has room; False where somebody has promised it."""
        options: Any = {
            "workflow_name": "carry",
            "queue_name": queue,
            "workflow_id": row,
            "priority": self._due(segment.priority),
        }
        return self._once(row, functools.partial(self._enqueue, options, queue, segment))

    def adopt(self, row: str, queue: str, segment: Stretch) -> bool:
        """Promise a segment, for whoever has room, unless there is a promise of it, also one that is over."""
        if DBOS.get_workflow_status(row):
            return False
        return self.enqueue(row, queue, segment)

    def later(self, row: str, queue: str, segment: Stretch, seconds: float) -> None:
        """Have a run expire after so long."""
        options: Any = {"workflow_name": "expire", "queue_name": queue, "workflow_id": row, "delay_seconds": seconds}
        self._once(row, functools.partial(self._enqueue, options, queue, segment))

    def _start(self, row: str, queue: str, segment: Stretch) -> None:
        with SetWorkflowID(row, workflow_id_reuse_policy="reject"):
            DBOS.start_workflow(_carry, queue, segment.run, segment.digest, segment.began_on, segment.after)

    def _enqueue(self, options: Any, queue: str, segment: Stretch) -> None:
        options = {**options, "app_version": _FORMAT, "workflow_id_reuse_policy": "reject"}
        DBOS.enqueue_workflow_with_options(options, queue, segment.run, segment.digest, segment.began_on, segment.after)

    def _once(self, row: str, promise: Callable[[], None]) -> bool:
        while True:
            try:
                promise()
            except dbos_error.DBOSWorkflowIDInUseError as used:
                if used.workflow_status in ACTIVE:
                    return False
                # what failed is tried once more
                DBOS.delete_workflow(row)
            else:
                return True

    def withdraw(self, row: str) -> None:
        """Take a promise back."""
        DBOS.cancel_workflow(row)

    def results(self, rows: Sequence[str]) -> dict[str, dict[str, str]]:
        """The results of those segments that are over, wherever."""
        found = {one.workflow_id: one for one in DBOS.list_workflows(workflow_ids=[*rows], load_input=False)}
        over: dict[str, dict[str, str]] = {row: {} for row in rows if row not in found}
        over |= {row: {"code": GivenUpError.only} for row, one in found.items() if one.status == _GIVEN_UP}
        return {row: one.output or {} for row, one in found.items() if one.status not in ACTIVE} | over

    # --- who is first ---

    def is_behind(self, queue: str, priority: Priority) -> bool:
        """Whether something waits in a queue that has been due for a while before whoever comes now."""
        at, first = self._looked.get(queue, (-math.inf, None))
        if time.monotonic() - at > _POLL_S:
            with self.server.connection() as connection:
                first = connection.execute(
                    f'SELECT min(priority) AS first FROM "{self.schema}".workflow_status'  # noqa: S608
                    " WHERE queue_name = %s AND status = 'ENQUEUED' AND application_version = %s",
                    (queue, _FORMAT),
                ).fetchone()["first"]
            self._looked[queue] = (time.monotonic(), first)
        return first is not None and first + _GIVES_WAY_S < self._due(priority)

    def _due(self, priority: Priority) -> int:
        """When something that comes now is due, in whole seconds by the server's clock.

        DBOS hands out the lowest number first, of equal ones what came first; what has none, as timers and what was
        begun without a queue and left, before all.
        """
        return max(1, round(due(priority, time.monotonic() + self._ahead_s)) - _SINCE)

    def _measured_ahead(self) -> float:
        """How far the server's clock is ahead of this process's monotonic one, in seconds."""
        with self.server.connection() as connection:
            now = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8 AS now").fetchone()["now"]
        return now - time.monotonic()

    # --- members ---

    def take_from(self, queue: str, room: int) -> None:
        """Work on what a queue hands out, on so many of it at a time; on none, with 0."""
        if queue not in self._queues:
            make = self._dbos._registry._register_internal_queue  # pyright: ignore[reportPrivateUsage]
            self._queues[queue] = make(queue, worker_concurrency=room, polling_interval_sec=_POLL_S)
        # read at each look
        self._queues[queue]._worker_concurrency = room

    def member(self, queue: str) -> QueueWorker | None:
        return next((one for one in self._members if one.queue == queue and not one.leaving), None)

    def stop_taking(self, seconds: float) -> None:
        """Begin to end where all members are leaving: nothing more is taken, what is carried has so long."""
        with _guard:
            if self._ending or not all(one.leaving for one in self._members) or not self._own():
                return
            wait = math.ceil(seconds) + 2
            self._ending = threading.Thread(
                target=functools.partial(DBOS.destroy, workflow_completion_timeout_sec=wait), daemon=True
            )
            self._ending.start()

    def leave(self, member: QueueWorker) -> None:
        """The last one ends it."""
        global _engine
        with _guard:
            self._members.remove(member)
            if self._members:
                return
            _engine = None
            if self._ending:
                self._ending.join()
            else:
                DBOS.destroy()
            self._stopping.set()
            self._watching.join()
            self._presence.end()
            self._pool.dispose()

    # --- who is gone ---

    def _watch(self) -> None:
        cleaned = time.monotonic()
        while not self._stopping.wait(_LOOK_S):
            try:
                self._look()
                if time.monotonic() - cleaned > _CLEAN_S:
                    cleaned = time.monotonic()
                    self.clean(_KEPT_S)
            except Exception as error:
                # as while the server is away
                log.warning("processes that are gone cannot be looked for: %s", error)

    def _look(self) -> None:
        self._ahead_s = self._measured_ahead()
        if not self._presence.lasts():
            self._presence = Presence(self.server, self.name)
            # others may have thought this process gone
            for row in [*self.carried]:
                self._suspects.spared(_run_of(row))
        gone: dict[str, bool] = {}
        for row, owner in self._pending("executor_id <> %s", self.name):
            if owner not in gone:
                gone[owner] = not present(self.server, owner)
            if gone[owner]:
                self._put_back(row, owner)

    def give_up(self, row: str) -> None:
        """Keep a row among those that DBOS takes up no more."""
        system = self._dbos._sys_db  # pyright: ignore[reportPrivateUsage]
        system.dead_letter_workflows([row], min_recovery_attempts=0)

    def _put_back(self, row: str, gone: str) -> None:
        queue, run = row.partition(":")[0], _run_of(row)
        with self._suspects.database.writing() as execute:
            if execute(
                f'UPDATE "{self.schema}".workflow_status'  # noqa: S608
                " SET status = 'ENQUEUED', owner_xid = NULL, started_at_epoch_ms = NULL,"
                " updated_at = (extract(epoch FROM clock_timestamp()) * 1000)::bigint,"
                " queue_name = coalesce(queue_name, ?)"
                " WHERE workflow_uuid = ? AND status = 'PENDING' AND executor_id = ? RETURNING workflow_uuid",
                (queue, row, gone),
            ):
                self._suspects.noted(run, execute)
                self.recovered[queue.partition("+")[0]] += 1
                log.warning("run %s was left by %s and goes on", run, gone)

    def clean(self, seconds: float) -> None:
        """Delete the rows of what has been over for so long, but for those that failed: that is known from nowhere
        else, until the run is deleted."""
        with self.server.connection() as connection:
            over = connection.execute(
                f'SELECT workflow_uuid FROM "{self.schema}".workflow_status'  # noqa: S608
                f' LEFT JOIN "{self.schema}".workflow_output USING (workflow_uuid)'
                " WHERE completed_at < extract(epoch FROM now()) * 1000 - %s"
                " AND coalesce(workflow_output.output, '') NOT LIKE '%%\"code\"%%' LIMIT 1000",
                (seconds * 1000,),
            ).fetchall()
        if over:
            DBOS.delete_workflows([row["workflow_uuid"] for row in over])

    def promised(self, queue: str) -> list[str]:
        """What of a queue is carried, or waits for somebody with room."""
        with self.server.connection() as connection:
            rows = connection.execute(
                f'SELECT workflow_uuid FROM "{self.schema}".workflow_status'  # noqa: S608
                " WHERE status IN ('PENDING', 'ENQUEUED') AND starts_with(workflow_uuid, %s)",
                (f"{queue}:",),
            )
            return [row["workflow_uuid"] for row in rows]

    def queued(self, queue: str) -> list[Queued]:
        """This queue, and what waits in others of its workflow. Raises `RunError` SG625."""
        ours, names = of_workflow(queue.partition("+")[0])
        with self.server.connection() as connection:
            rows = connection.execute(
                f"""SELECT split_part(workflow_uuid, ':', 1) AS queue,
                  count(*) FILTER (WHERE status = 'ENQUEUED') AS length,
                  extract(epoch FROM now()) * 1000 - min(greatest(created_at, delay_until_epoch_ms))
                    FILTER (WHERE status = 'ENQUEUED') AS oldest_ms,
                  count(*) FILTER (WHERE status = '{_GIVEN_UP}') AS given_up
                FROM "{self.schema}".workflow_status
                WHERE status IN ('ENQUEUED', '{_GIVEN_UP}') AND {ours}
                GROUP BY 1 ORDER BY 1""",  # noqa: S608
                names,
            ).fetchall()
        found = {
            row["queue"]: Queued(
                row["queue"], row["length"], max(0.0, float(row["oldest_ms"] or 0) / 1000), row["given_up"]
            )
            for row in rows
        }
        return [*({queue: Queued(queue, 0, 0.0, 0)} | found).values()]

    def _own(self) -> bool:
        return bool(self._pending("executor_id = %s", self.name))

    def _pending(self, which: str, name: str) -> list[tuple[str, str]]:
        """What is being carried, and by whom."""
        with self.server.connection() as connection:
            rows = connection.execute(
                f'SELECT workflow_uuid, executor_id FROM "{self.schema}".workflow_status'  # noqa: S608
                f" WHERE status = 'PENDING' AND {which}",
                (name,),
            )
            return [(row["workflow_uuid"], row["executor_id"]) for row in rows]


def _run_of(row: str) -> str:
    return row.partition(":")[2].partition("@")[0]


_engine: DbosEngine | None = None
_guard = threading.Lock()


def join(server: Server, member: QueueWorker) -> DbosEngine:
    """The engine of this process, with one more member. Raises `RunError` SG625, and SG682 where it is of another
    server."""
    global _engine
    with _guard:
        if _engine is None:
            _engine = DbosEngine(server)
        elif _engine.server is not server:
            raise RunError(
                "SG682",
                f"this process carries runs on {_engine.server.name}",
                hint="Use one server in a process; close the services of the other one first",
            )
        _engine._members.append(member)  # pyright: ignore[reportPrivateUsage]
        return _engine
