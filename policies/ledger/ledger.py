"""The account of money and tokens: reserve the upper bound of a call before it, settle its real cost after it.

Amounts are whole micro-dollars, so sums are exact. A reservation is checked against every cap and booked in one
transaction that no other process overlaps: reserved and spent together never pass a cap. Each reservation is a lease;
when its process dies, the next reservation after the lease releases it. A call that settles after its lease is booked
all the same, once: the money is gone, and the report says so even where that passes a cap.

A clock that jumps back would open the budget of a day that is over. Up to `SLACK_S` the ledger keeps the latest time
it has seen; beyond that it refuses paid calls under a cap until `accept_clock` is called.
"""

import asyncio
import json
import math
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from time import time
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from sluicegate.home import home
from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.policies.ledger.calls import SLACK_S, Call, Limit, Over, calendar, outer_scope, scopes
from sluicegate.services import Ledger, Refusal, Reservation
from sluicegate.storage.database import Execute, SqliteDatabase
from sluicegate.storage.schemas import LEDGER

__all__ = ["BudgetLedger", "Cap", "SqliteLedger", "micros"]

T = TypeVar("T")


def micros(usd: float, *, up: bool = False) -> int:
    """Whole micro-dollars, rounded to the nearest or up. Rounds the decimal form of `usd`, not its binary value."""
    amount = Decimal(repr(float(usd))) * 1_000_000
    return math.ceil(amount) if up else int(amount.to_integral_value())


@dataclass(frozen=True, slots=True)
class Cap:
    """One cap and its use, amounts in US dollars or tokens."""

    name: str
    of: str
    """What it is for, such as a principal or an intent; empty for the whole workflow."""
    unit: Literal["usd", "tokens"]
    limit: float
    spent: float
    held: float

    @property
    def left(self) -> float:
        return self.limit - self.spent - self.held


class _Outer(NamedTuple):
    """A run that another one lies within."""

    ledger: "BudgetLedger"
    run: str
    workflow: str
    intent: str


class LedgerStore(Protocol):
    def writing(self) -> AbstractContextManager[Execute]:
        """A transaction that no other writer overlaps; rolled back when the block raises. Raises `RunError`."""
        ...

    async def call(self, work: Callable[..., T], *given: Any) -> T:
        """As `Database.call`."""
        ...

    def close(self) -> None: ...


class BudgetLedger:
    """Implements `sluicegate.services.Ledger` for one workflow's budget over a shared store.

    Every method raises `RunError` SG606, SG607, SG608 or SG625 when the store cannot be written: a call that cannot be
    booked must not be made.
    """

    def __init__(
        self,
        store: LedgerStore,
        budget: BudgetConfig | None = None,
        *,
        switch: KillSwitch | None = None,
        now: Callable[[], float] = time,
    ) -> None:
        self._store = store
        self._budget = budget or BudgetConfig()
        self._switch = switch
        self._now = now
        self._outer: tuple[_Outer, ...] = ()

    def within(self, outer: Ledger, *, run: str, workflow: str, intent: str) -> "BudgetLedger":
        """As `services.Ledger.within`; the outer one keeps its books in the same store."""
        inner = copy(self)
        if isinstance(outer, BudgetLedger):
            inner._outer = (*outer._outer, _Outer(outer, run, workflow, intent))
        return inner

    async def reserve(
        self, *, run: str, principal: str, intent: str, workflow: str, model: str, usd: float, tokens: int
    ) -> Reservation | Refusal:
        """Set aside the upper bound of a call; only token caps and switches can refuse one that is free."""
        if switched := self.switched(model=model, intent=intent, workflow=workflow):
            return switched
        amount = micros(usd, up=True)
        if amount < 0 or tokens < 0:
            raise ValueError("a reservation cannot be negative")
        within = tuple((one.workflow, one.run, one.intent) for one in self._outer)
        call = Call(uuid.uuid4().hex, workflow, run, principal, intent, model, amount, tokens, within)
        now = self._now()
        try:
            over = await self._store.call(self._book, call, list(self._limits(run, principal, intent)), now)
        except asyncio.CancelledError:
            # nobody will settle what may have been booked
            await self._store.call(self._end, call.id, None, now)
            raise
        if over is None:
            return Reservation(call.id, amount / 1_000_000)
        if over.limit is None:
            return Refusal("SG501", _gone_back(over.latest, now))
        return Refusal("SG501", over.limit.refusal(over.used, over.limit.asked(call)))

    def switched(self, *, model: str, intent: str, workflow: str) -> Refusal | None:
        """As `services.Ledger.switched`."""
        off = self._switch.check(model=model, intent=intent, workflow=workflow) if self._switch else None
        if off:
            return Refusal("SG502", f"{off.name} is switched off: {off.reason}")
        outside = (one.ledger.switched(model=model, intent=one.intent, workflow=one.workflow) for one in self._outer)
        return next(filter(None, outside), None)

    async def settle(self, reservation: Reservation, *, usd: float, tokens: int) -> None:
        """Book the real cost of a call. Repeating it changes nothing; after the lease it is still booked."""
        await self._store.call(self._end, reservation.id, (micros(usd), tokens), self._now())

    async def release(self, reservation: Reservation) -> None:
        """Release a reservation unspent. Repeating it, or releasing what was settled, changes nothing."""
        await self._store.call(self._end, reservation.id, None, self._now())

    def accept_clock(self) -> None:
        """Accept the machine's clock although the ledger has seen a later time."""
        with self._store.writing() as execute:
            execute("DELETE FROM clock")
            execute("INSERT INTO clock (id, latest) VALUES (1, ?)", (self._now(),))

    def caps(self, workflow: str, *, day: str | None = None) -> list[Cap]:
        """The use of the workflow's caps on a day (ISO date, UTC; today by default): the whole workflow's first,
        then each intent's and each principal's with spending on that day."""
        with self._store.writing() as execute:
            now = self._clock(execute, self._now())
            self._expire(execute, now)
            day = day or calendar(now)[0]
            people = execute(
                "SELECT DISTINCT principal, intent FROM calls WHERE workflow = ? AND day = ?", (workflow, day)
            )
            pairs = [("", ""), *((row["principal"], row["intent"]) for row in people)]
            found: dict[tuple[str, str], Cap] = {}
            for principal, intent in pairs:
                keys = scopes(workflow, "", principal, intent, day, day[:7])
                totals = _totals(execute, [*keys.values()])
                for cap in self._caps("", principal, intent):
                    of = {"principal": principal, "intent": intent}.get(cap.scope, "")
                    if cap.scope == "run" or (cap.scope in ("principal", "intent") and not of):
                        continue
                    found.setdefault((cap.name, of), _used(cap, of, totals[keys[cap.scope]]))
        return sorted(found.values(), key=lambda cap: (cap.of != "", cap.name, cap.of))

    def spending(
        self, *, by: Literal["workflow", "model", "intent", "principal", "day", "run"] = "workflow", since: str = ""
    ) -> list[dict[str, Any]]:
        """What was spent, most expensive first: rows of the group's name, `calls`, `usd`, `estimated_usd` (of settled
        calls), `held_usd`, `tokens` and `expired` (released because their process died), from a day on."""
        with self._store.writing() as execute:
            now = self._clock(execute, self._now())
            self._expire(execute, now)
            rows = execute(
                # `by` is one of the literals above
                f"SELECT {by} AS name, COUNT(*) AS calls,"  # noqa: S608
                " COALESCE(SUM(real_micros), 0) AS real_micros,"
                " COALESCE(SUM(CASE WHEN state = 'settled' THEN estimated_micros END), 0) AS estimated_micros,"
                " COALESCE(SUM(CASE WHEN state = 'held' THEN estimated_micros END), 0) AS held_micros,"
                " COALESCE(SUM(real_tokens), 0) AS tokens,"
                " COALESCE(SUM(CASE WHEN state = 'expired' THEN 1 ELSE 0 END), 0) AS expired"
                f" FROM calls WHERE day >= ? GROUP BY {by} ORDER BY real_micros DESC, name",
                (since,),
            )
        return [
            {
                by: row["name"],
                "calls": int(row["calls"]),
                "usd": int(row["real_micros"]) / 1_000_000,
                "estimated_usd": int(row["estimated_micros"]) / 1_000_000,
                "held_usd": int(row["held_micros"]) / 1_000_000,
                "tokens": int(row["tokens"]),
                "expired": int(row["expired"]),
            }
            for row in rows
        ]

    def close(self) -> None:
        self._store.close()

    def _book(self, call: Call, limits: Sequence[Limit], now: float) -> Over | None:
        """Hold a call's amounts if every limit has room for them; returns the reason if not."""
        with self._store.writing() as execute:
            latest = self._clock(execute, now)
            self._expire(execute, latest)
            day, month = calendar(latest)
            keys = call.scopes(day, month)
            totals = _totals(execute, [*keys.values()])
            for limit in limits:
                if not limit.asked(call):
                    continue
                if latest - now > SLACK_S:
                    return Over(None, latest=latest)
                used = sum(totals[keys[limit.scope]].of(limit.unit))
                if used + limit.asked(call) > limit.limit:
                    return Over(limit, used, latest)
            execute(
                "INSERT INTO calls (id, workflow, run, principal, intent, model, day, state, estimated_micros,"
                " estimated_tokens, reserved_at, expires_at, within)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, 'held', ?, ?, ?, ?, ?)",
                (
                    *(call.id, call.workflow, call.run, call.principal, call.intent, call.model, day),
                    *(call.micros, call.tokens, latest, latest + self._budget.lease_s, json.dumps(call.within)),
                ),
            )
            _add(execute, keys.values(), held=(call.micros, call.tokens))
        return None

    def _end(self, id: str, real: tuple[int, int] | None, now: float) -> None:
        """Settle a call at its real amounts, or release it without any."""
        with self._store.writing() as execute:
            rows = execute("SELECT * FROM calls WHERE id = ?", (id,))
            if not rows or rows[0]["state"] == "settled":
                return
            (call,) = rows
            latest = self._clock(execute, now)
            if real is None:
                if call["state"] == "held":
                    _end(execute, call, "released", latest)
                return
            execute(
                "UPDATE calls SET state = 'settled', real_micros = ?, real_tokens = ?, ended_at = ? WHERE id = ?",
                (*real, latest, id),
            )
            held = _held(call) if call["state"] == "held" else (0, 0)
            _add(execute, _scopes_of(call), held=(-held[0], -held[1]), spent=real)

    def _clock(self, execute: Execute, now: float) -> float:
        """The effective time: the clock's, or the latest that the ledger has seen."""
        rows = execute("SELECT latest FROM clock")
        latest = float(rows[0]["latest"]) if rows else 0.0
        # once a second is enough to notice a jump, and saves a write
        if not rows:
            execute("INSERT INTO clock (id, latest) VALUES (1, ?)", (now,))
        elif now >= latest + 1:
            execute("UPDATE clock SET latest = ?", (now,))
        return max(now, latest)

    def _expire(self, execute: Execute, now: float) -> None:
        for call in execute("SELECT * FROM calls WHERE state = 'held' AND expires_at < ?", (now,)):
            _end(execute, call, "expired", now)

    def _limits(self, run: str, principal: str, intent: str) -> Iterator[Limit]:
        """The caps that apply to a call: the workflow's own, and those of the runs that it lies within."""
        yield from self._caps(run, principal, intent)
        for depth, outer in enumerate(self._outer):
            for cap in outer.ledger._caps(outer.run, principal, outer.intent):
                of = "" if cap.scope == "run" else cap.of
                yield replace(cap, name=f"{outer.workflow}'s {cap.name}", scope=outer_scope(cap.scope, depth), of=of)

    def _caps(self, run: str, principal: str, intent: str) -> Iterator[Limit]:
        budget = self._budget
        by_intent = budget.per_intent_day_usd
        intent_usd = by_intent.get(intent) if isinstance(by_intent, dict) else by_intent
        dollars = (
            ("per_run_usd", "run", run, budget.per_run_usd),
            ("per_principal_day_usd", "principal", principal, budget.per_principal_day_usd),
            ("per_intent_day_usd", "intent", intent, intent_usd),
            ("per_day_usd", "day", "", budget.per_day_usd),
            ("per_month_usd", "month", "", budget.per_month_usd),
        )
        tokens = (
            ("per_run_tokens", "run", run, budget.per_run_tokens),
            ("per_principal_day_tokens", "principal", principal, budget.per_principal_day_tokens),
            ("per_day_tokens", "day", "", budget.per_day_tokens),
        )
        for name, scope, of, usd in dollars:
            if usd is not None:
                yield Limit(name, scope, of, "usd", micros(usd))
        for name, scope, of, count in tokens:
            if count is not None:
                yield Limit(name, scope, of, "tokens", count)


class SqliteLedger(BudgetLedger):
    """A ledger in a SQLite file, by default the home's."""

    def __init__(
        self,
        budget: BudgetConfig | None = None,
        path: Path | None = None,
        *,
        switch: KillSwitch | None = None,
        now: Callable[[], float] = time,
        look: bool = False,
    ) -> None:
        store = SqliteDatabase(path or home() / "ledger.sqlite", LEDGER, look=look)
        super().__init__(store, budget, switch=switch, now=now)


def _gone_back(latest: float, now: float) -> str:
    seen = datetime.fromtimestamp(latest, UTC).isoformat(timespec="seconds")
    return (
        f"the clock was set back: the ledger has seen {seen}, {latest - now:.0f} s later than now; "
        "`sluicegate budget clock --accept` accepts the current clock"
    )


def _scopes_of(call: dict[str, Any]) -> Iterator[str]:
    day, within = call["day"], [(call["workflow"], call["run"], call["intent"]), *json.loads(call["within"])]
    for workflow, run, intent in within:
        yield from scopes(workflow, run, call["principal"], intent, day, day[:7]).values()


def _held(call: dict[str, Any]) -> tuple[int, int]:
    return int(call["estimated_micros"]), int(call["estimated_tokens"])


def _end(execute: Execute, call: dict[str, Any], state: str, now: float) -> None:
    held = _held(call)
    execute("UPDATE calls SET state = ?, ended_at = ? WHERE id = ?", (state, now, call["id"]))
    _add(execute, _scopes_of(call), held=(-held[0], -held[1]))


def _add(
    execute: Execute,
    scopes: Iterable[str],
    *,
    held: tuple[int, int] = (0, 0),
    spent: tuple[int, int] = (0, 0),
) -> None:
    rows = [(scope, held[0], spent[0], held[1], spent[1]) for scope in scopes]
    values = ", ".join(["(?, ?, ?, ?, ?)"] * len(rows))
    execute(
        # only placeholders are put in
        f"INSERT INTO totals (scope, held_micros, spent_micros, held_tokens, spent_tokens) VALUES {values}"  # noqa: S608
        " ON CONFLICT (scope) DO UPDATE SET held_micros = totals.held_micros + excluded.held_micros,"
        " spent_micros = totals.spent_micros + excluded.spent_micros,"
        " held_tokens = totals.held_tokens + excluded.held_tokens,"
        " spent_tokens = totals.spent_tokens + excluded.spent_tokens",
        [value for row in rows for value in row],
    )


class _Totals(NamedTuple):
    spent_micros: int = 0
    held_micros: int = 0
    spent_tokens: int = 0
    held_tokens: int = 0

    def of(self, unit: str) -> tuple[int, int]:
        """Spent and held."""
        return (self.spent_micros, self.held_micros) if unit == "usd" else (self.spent_tokens, self.held_tokens)


def _totals(execute: Execute, scopes: Sequence[str]) -> dict[str, _Totals]:
    """The sums of these scopes; a scope without any has zeros."""
    marks = ", ".join("?" * len(scopes))
    rows = execute(f"SELECT * FROM totals WHERE scope IN ({marks})", scopes)  # noqa: S608
    found = {row["scope"]: _Totals(*(int(row[column]) for column in _Totals._fields)) for row in rows}
    return {scope: found.get(scope, _Totals()) for scope in scopes}


def _used(limit: Limit, of: str, totals: _Totals) -> Cap:
    spent, held = totals.of(limit.unit)
    unit = 1_000_000 if limit.unit == "usd" else 1
    return Cap(limit.name, of, limit.unit, limit.limit / unit, spent / unit, held / unit)
