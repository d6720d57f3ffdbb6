"""The outbox: every event once, and a delivery for each destination until it is done.

An event has an id that is made of what happened, so that who announces it again, after a crash or beside another
process, adds nothing. A delivery is claimed for a while by one process: when that dies, the next one takes it up, and
the destination may get the same event twice, under the same id. Deliveries of one run are claimed in their order.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from time import time
from typing import Any

from sluicegate.errors import NotFoundError
from sluicegate.storage.database import Execute, Place, open_database, place
from sluicegate.storage.schemas import WEBHOOKS

__all__ = ["LEASE_S", "MOST", "WITHIN_S", "Announcement", "Delivery", "Outbox"]

WITHIN_S = 86_400.0
"""How long a delivery is tried."""
LEASE_S = 60.0
"""How long a claim lasts; longer than an attempt may take."""
MOST = 10_000
"""Deliveries that wait for one destination, and dead ones that are kept of it."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """Something that happened."""

    type: str
    key: tuple[str, ...]
    """What makes it this one and no other."""
    workflow: str
    run: str
    at: str
    """When it happened, ISO 8601."""
    data: Mapping[str, Any]

    @property
    def id(self) -> str:
        return f"evt_{sha256(json.dumps([self.type, *self.key]).encode()).hexdigest()[:32]}"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one destination."""

    event: str
    type: str
    workflow: str
    run: str
    at: str
    data: dict[str, Any]
    destination: str
    state: str
    """``waiting`` or ``dead``."""
    attempts: int
    began: float
    due: float
    failure: str
    """Why the last attempt failed."""


class Outbox:
    """Of one home, or of the machines that share a server. Raises as `Database` does."""

    def __init__(self, where: Place | None = None, *, now: Callable[[], float] = time) -> None:
        self._database = open_database(where or place(), WEBHOOKS)
        self._now = now
        self.close = self._database.close

    def add(self, event: Announcement, destinations: Iterable[str]) -> bool:
        """Write an event down, for these destinations; False when it is there already."""
        now = self._now()
        row = (event.id, event.type, event.workflow, event.run, event.at, _json(event.data), now)
        with self._database.writing() as execute:
            if not execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id", row):
                return False
            for destination in destinations:
                off, waiting = self._off(execute, destination), self._count(execute, destination, "waiting")
                full = "too many deliveries wait for it" if waiting >= MOST else ""
                behind = "SELECT COALESCE(MAX(place), 0) + 1 AS place FROM deliveries WHERE destination = ? AND run = ?"
                (last,) = execute(behind, (destination, event.run))
                state = "dead" if off or full else "waiting"
                execute(
                    "INSERT INTO deliveries VALUES (?, ?, ?, ?, ?, 0, ?, ?, 0, '', ?)",
                    (event.id, destination, event.run, last["place"], state, now, now, off or full),
                )
                if state == "dead":
                    self._forget_oldest(execute, destination)
        return True

    def claim(self, destination: str, owner: str, limit: int) -> list[Delivery]:
        """Take up to so many deliveries that are due, for `LEASE_S`."""
        now = self._now()
        due = "state = 'waiting' AND due <= ? AND leased <= ?"
        with self._database.writing() as execute:
            rows = execute(
                f"UPDATE deliveries SET owner = ?, leased = ?, attempts = attempts + 1 WHERE destination = ? AND {due}"  # noqa: S608
                " AND event IN (SELECT event FROM deliveries AS one WHERE destination = ?"
                f" AND {due} AND NOT EXISTS (SELECT 1 FROM deliveries AS before"
                " WHERE before.destination = one.destination AND before.run = one.run AND one.run <> ''"
                " AND before.state = 'waiting' AND before.place < one.place) ORDER BY due, place LIMIT ?)"
                " RETURNING event",
                (owner, now + LEASE_S, destination, now, now, destination, now, now, limit),
            )
            return self._read(execute, "destination = ? AND event IN (VALUES)", destination, *_of(rows))

    def next_due(self, destination: str) -> float | None:
        """When the next delivery is due, or the lease of another process ends; None while nothing waits."""
        with self._database.reading() as execute:
            (row,) = execute(
                "SELECT MIN(CASE WHEN due > leased THEN due ELSE leased END) AS due FROM deliveries"
                " WHERE destination = ? AND state = 'waiting'",
                (destination,),
            )
        return None if row["due"] is None else float(row["due"])

    def done(self, delivery: Delivery) -> None:
        with self._database.writing() as execute:
            execute("DELETE FROM deliveries WHERE event = ? AND destination = ?", _key(delivery))

    def failed(self, delivery: Delivery, failure: str, *, pause_s: float) -> None:
        """Try it again after a pause; dead when it has been tried for `WITHIN_S` by then."""
        due = self._now() + pause_s
        with self._database.writing() as execute:
            dead = due > delivery.began + WITHIN_S
            execute(
                "UPDATE deliveries SET state = ?, due = ?, leased = 0, owner = '', failure = ?"
                " WHERE event = ? AND destination = ?",
                ("dead" if dead else "waiting", due, failure, *_key(delivery)),
            )
            if dead:
                self._forget_oldest(execute, delivery.destination)

    def switch_off(self, destination: str, reason: str) -> None:
        """Send nothing more to it: what waits for it, and what comes until it is tried again, is dead."""
        with self._database.writing() as execute:
            execute(
                "INSERT INTO switched_off VALUES (?, ?, ?) ON CONFLICT (destination) DO NOTHING",
                (destination, reason, self._now()),
            )
            execute(
                "UPDATE deliveries SET state = 'dead', leased = 0, owner = '', failure = ?"
                " WHERE destination = ? AND state = 'waiting'",
                (reason, destination),
            )
            self._forget_oldest(execute, destination)

    def release(self, owner: str) -> None:
        """Leave what this owner has claimed and not sent to others."""
        with self._database.writing() as execute:
            execute(
                "UPDATE deliveries SET leased = 0, owner = '', attempts = attempts - 1"
                " WHERE owner = ? AND state = 'waiting'",
                (owner,),
            )

    def deliveries(self) -> list[Delivery]:
        """Those that are not done, by destination, the oldest first."""
        with self._database.reading() as execute:
            return self._read(execute, "1 = 1")

    def counts(self) -> dict[tuple[str, str], int]:
        """How many there are by destination and state."""
        with self._database.reading() as execute:
            rows = execute("SELECT destination, state, COUNT(*) AS n FROM deliveries GROUP BY destination, state")
        return {(row["destination"], row["state"]): int(row["n"]) for row in rows}

    def off(self) -> dict[str, str]:
        """The destinations that are switched off, with the reasons."""
        with self._database.reading() as execute:
            return {row["destination"]: row["reason"] for row in execute("SELECT * FROM switched_off")}

    def retry(self, what: str) -> int:
        """Send at once what waits for a destination or is dead, or one event; the destination is switched on again.
        How many deliveries. Raises `RunError` SG603 when there is nothing of this name."""
        now = self._now()
        with self._database.writing() as execute:
            on = execute("DELETE FROM switched_off WHERE destination = ? RETURNING destination", (what,))
            rows = execute(
                "UPDATE deliveries SET state = 'waiting', due = ?, began = ?, leased = 0, owner = ''"
                " WHERE (destination = ? OR event = ?) AND leased <= ? RETURNING event",
                (now, now, what, what, now),
            )
        if not (rows or on):
            raise _nothing(what)
        return len(rows)

    def drop(self, what: str) -> int:
        """Give up what is not done for a destination, or one event. Raises as `retry` does."""
        with self._database.writing() as execute:
            rows = execute("DELETE FROM deliveries WHERE destination = ? OR event = ? RETURNING event", (what, what))
        if not rows:
            raise _nothing(what)
        return len(rows)

    def _read(self, execute: Execute, which: str, *values: object) -> list[Delivery]:
        marks = ", ".join("?" * (len(values) - 1)) or "NULL"
        rows = execute(
            "SELECT event, type, workflow, deliveries.run, at, data, destination, state, attempts, began, due, failure"  # noqa: S608
            f" FROM deliveries JOIN events ON id = event WHERE {which.replace('VALUES', marks)}"
            " ORDER BY destination, began, place, event",
            values,
        )
        return [Delivery(**{**row, "data": json.loads(row["data"])}) for row in rows]

    def _off(self, execute: Execute, destination: str) -> str:
        rows = execute("SELECT reason FROM switched_off WHERE destination = ?", (destination,))
        return rows[0]["reason"] if rows else ""

    def _count(self, execute: Execute, destination: str, state: str) -> int:
        statement = "SELECT COUNT(*) AS n FROM deliveries WHERE destination = ? AND state = ?"
        return int(execute(statement, (destination, state))[0]["n"])

    def _forget_oldest(self, execute: Execute, destination: str) -> None:
        if (surplus := self._count(execute, destination, "dead") - MOST) > 0:
            execute(
                "DELETE FROM deliveries WHERE destination = ? AND event IN (SELECT event FROM deliveries"
                " WHERE destination = ? AND state = 'dead' ORDER BY began LIMIT ?)",
                (destination, destination, surplus),
            )


def _of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [row["event"] for row in rows]


def _key(delivery: Delivery) -> tuple[str, str]:
    return delivery.event, delivery.destination


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False)


def _nothing(what: str) -> NotFoundError:
    return NotFoundError(f"no event and no destination {what!r} waits or is dead", hint="sluicegate webhooks list")
