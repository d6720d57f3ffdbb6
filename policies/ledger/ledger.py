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
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from sluicegate.policies.ledger.calls import (
    SLACK_S,
    TOOL,
    Call,
    Limit,
    Over,
    Paid,
    Unit,
    calendar,
    outer_scope,
    scopes,
)
from sluicegate.policies.ledger.report import Group, spending
from sluicegate.policies.ledger.rows import (
    Room,
    add,
    backing_of,
    calls_of_tools,
    end,
    held_by,
    scopes_of,
    totals_of,
)
from sluicegate.services import Allowed, Amount, Draw, FanOut, Ledger, Part, Refusal, Reservation
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
    unit: Unit
    limit: float
    spent: float
    held: float

    @property
    def left(self) -> float:
        return self.limit - self.spent - self.held

    @property
    def used(self) -> float:
        """The share that is spent or reserved; of a cap of nothing all is."""
        # the sums are exact in micro-dollars, and not in dollars
        return round((self.spent + self.held) / self.limit, 9) if self.limit else 1.0


class _Outer(NamedTuple):
    """A run that another one lies within."""

    ledger: "BudgetLedger"
    run: str
    workflow: str
    intent: str
    draw: Draw | None


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
        self._noted: set[tuple[str, str, str, str]] = set()

    def within(
        self, outer: Ledger, *, run: str, workflow: str, intent: str, draw: Draw | None = None
    ) -> "BudgetLedger":
        """As `services.Ledger.within`; the outer one keeps its books in the same store."""
        inner = copy(self)
        if isinstance(outer, BudgetLedger):
            inner._outer = (*outer._outer, _Outer(outer, run, workflow, intent, draw))
        return inner

    async def reserve(
        self,
        *,
        run: str,
        principal: str,
        intent: str,
        workflow: str,
        model: str,
        usd: float,
        tokens: int,
        size: Literal["slm", "llm"] = "slm",
        call: str = "",
        draw: Draw | None = None,
    ) -> Reservation | Refusal:
        """Set aside the upper bound of a call; only token caps and switches can refuse one that is free."""
        if switched := self.switched(model=model, intent=intent, workflow=workflow):
            return switched
        amount = micros(usd, up=True)
        if amount < 0 or tokens < 0:
            raise ValueError("a reservation cannot be negative")
        limits = self._model_limits(run, principal, intent)
        draws = self._draws(draw)
        drawn_on = draws[0].reservation if draws else ""
        known_as = f"{drawn_on} {run} {call}" if draws else uuid.uuid4().hex
        made = Call(known_as, workflow, run, principal, intent, model, amount, tokens, self._within, drawn_on)
        if any(limit.asked(made) for limit in limits) and (off := _denied(draws, size)):
            return Refusal("SG501", off.refused)
        booked, now = list[str | Over](), self._now()
        try:
            await self._store.call(lambda: booked.append(self._book(made, limits, now)))
        except asyncio.CancelledError:
            # nobody will settle what was booked
            for each in booked:
                if isinstance(each, str):
                    await self._store.call(self._end, each, None, now)
            raise
        (outcome,) = booked
        if isinstance(outcome, str):
            return Reservation(outcome, amount / 1_000_000)
        if outcome.limit:
            await self._store.call(self._note_used_up, made, outcome.limit, now)
        return Refusal("SG501", _why(outcome, amount, tokens, now))

    def capped(self) -> bool:
        """As `services.Ledger.capped`."""
        budgets = (self._budget, *(one.ledger._budget for one in self._outer))
        return any(budget.caps for budget in budgets)

    async def reserve_parts(
        self, *, id: str, run: str, principal: str, intent: str, workflow: str, parts: Sequence[Part]
    ) -> FanOut:
        """As `services.Ledger.reserve_parts`."""
        draws = self._draws(None)
        drawn_on = draws[0].reservation if draws else ""
        whole = Call(id, workflow, run, principal, intent, "", 0, 0, self._within, drawn_on)
        limits, now = self._model_limits(run, principal, intent), self._now()
        if not limits:
            return FanOut()
        try:
            return await self._store.call(self._book_parts, whole, parts, limits, draws, now)
        except asyncio.CancelledError:
            await self._store.call(self._release_parts, id, now)
            raise

    async def release_parts(self, id: str) -> None:
        """As `services.Ledger.release_parts`."""
        await self._store.call(self._release_parts, id, self._now())

    async def settle_parts(self, id: str, paid: Sequence[Paid], left: Amount) -> None:
        """Book calls that `reserve_parts` has paid for, each once by its id, in one transaction. What is `left` stays
        held, and its lease begins anew."""
        await self._store.call(self._settle_parts, id, paid, left, self._now())

    def parts_left(self, id: str) -> bool:
        """Whether `reserve_parts` was neither released nor repeated: whoever made it has died."""
        with self._store.writing() as execute:
            return bool(execute("SELECT id FROM calls WHERE id = ? AND model = ''", (id,)))

    def spent_by(self, runs: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Micro-dollars and tokens that each of these runs has spent."""
        keys = {run: scopes("", run, "", "", "", "")["run"] for run in runs}
        with self._store.writing() as execute:
            totals = totals_of(execute, [*keys.values()])
        return {run: (totals[key].spent_micros, totals[key].spent_tokens) for run, key in keys.items()}

    async def charge(
        self, *, id: str, run: str, principal: str, intent: str, workflow: str, tool: str, usd: float
    ) -> Reservation | Refusal:
        """As `services.Ledger.charge`."""
        if switched := self.switched(model="", intent=intent, workflow=workflow):
            return switched
        made = Call(
            id, workflow, run, principal, intent, f"{TOOL}{tool}", micros(usd, up=True), 0, self._within, of_tool=True
        )
        now = self._now()
        over = await self._store.call(self._charge, made, list(self._limits(run, principal, intent)), now)
        return Refusal("SG501", _why(over, made.micros, 0, now)) if over else Reservation(id, made.micros / 1_000_000)

    async def refund(self, reservation: Reservation) -> None:
        """As `services.Ledger.refund`."""
        await self._store.call(self._refund, reservation.id, self._now())

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
                totals = totals_of(execute, [*keys.values()])
                for cap in self._caps("", principal, intent):
                    of = {"principal": principal, "intent": intent}.get(cap.scope, "")
                    if cap.scope == "run" or (cap.scope in ("principal", "intent") and not of):
                        continue
                    spent, held = totals[keys[cap.scope]].of(cap.unit)
                    if cap.unit == "calls":
                        spent, held = calls_of_tools(execute, day, workflow, of), 0
                    unit = 1_000_000 if cap.unit == "usd" else 1
                    known = Cap(cap.name, of, cap.unit, cap.limit / unit, spent / unit, held / unit)
                    found.setdefault((cap.name, of), known)
        return sorted(found.values(), key=lambda cap: (cap.of != "", cap.name, cap.of))

    def used_up(self, workflow: str, *, now: float) -> set[tuple[str, str, str]]:
        """The caps of this day and month that had no room for a call: name, what it is for, and the day or month."""
        with self._store.writing() as execute:
            rows = execute("SELECT * FROM used_up WHERE workflow = ? AND period IN (?, ?)", (workflow, *calendar(now)))
        return {(row["cap"], row["for_what"], row["period"]) for row in rows}

    def spending(
        self, *, by: Group = "workflow", since: str = "", daily: bool = False, of: Mapping[Group, str] | None = None
    ) -> list[dict[str, Any]]:
        """As `report.spending`."""
        with self._store.writing() as execute:
            self._expire(execute, self._clock(execute, self._now()))
            return spending(execute, by=by, since=since, daily=daily, of=of or {})

    def close(self) -> None:
        self._store.close()

    @property
    def _within(self) -> tuple[tuple[str, str, str], ...]:
        return tuple((one.workflow, one.run, one.intent) for one in self._outer)

    def _draws(self, own: Draw | None) -> list[Draw]:
        """What a call may draw on, the innermost first."""
        return [draw for draw in (own, *(one.draw for one in reversed(self._outer))) if draw]

    def _book(self, call: Call, limits: Sequence[Limit], now: float) -> Over | str:
        """Hold a call's amounts if every limit has room for them; its id, or the reason why not."""
        with self._store.writing() as execute:
            latest = self._clock(execute, now)
            self._expire(execute, latest)
            if call.drawn_on:
                call = replace(call, id=self._free_id(execute, call.id, latest, call.drawn_on))
            room = self._room(execute, call, limits, latest)
            if over := _over(room, call.micros, call.tokens, latest, now):
                return over
            self._hold(execute, room, call, latest)
            return call.id

    def _charge(self, call: Call, limits: Sequence[Limit], now: float) -> Over | None:
        """Book the call of a tool as paid if every limit has room for it, or was paid for it before."""
        with self._store.writing() as execute:
            latest = self._clock(execute, now)
            self._expire(execute, latest)
            before = execute("SELECT state FROM calls WHERE id = ?", (call.id,))
            if before and before[0]["state"] == "settled":
                return None
            execute("DELETE FROM calls WHERE id = ?", (call.id,))
            room = self._room(execute, call, limits, latest)
            if over := _over(room, call.micros, 0, latest, now):
                return over
            self._hold(execute, room, call, latest)
            self._settle(execute, call.id, (call.micros, 0), latest)
            return None

    def _refund(self, id: str, now: float) -> None:
        with self._store.writing() as execute:
            for paid in execute("SELECT * FROM calls WHERE id = ? AND state = 'settled'", (id,)):
                execute(
                    "UPDATE calls SET state = 'released', real_micros = NULL, real_tokens = NULL, ended_at = ?"
                    " WHERE id = ?",
                    (self._clock(execute, now), id),
                )
                add(execute, scopes_of(paid), spent=(-int(paid["real_micros"]), 0))

    def _book_parts(
        self, whole: Call, parts: Sequence[Part], limits: Sequence[Limit], draws: Sequence[Draw], now: float
    ) -> FanOut:
        """Hold what the parts may cost, each in turn, as far as every limit has room for it."""
        with self._store.writing() as execute:
            latest = self._clock(execute, now)
            self._expire(execute, latest)
            before = execute("SELECT * FROM calls WHERE id = ? AND state = 'held'", (whole.id,))
            self._forget(execute, whole.id, latest)
            for one in before:
                self._give_back(execute, one, whole.drawn_on)
            room = self._room(execute, whole, limits, latest)
            usd, tokens, refused = 0, 0, ""
            limited: dict[str, Literal["small", "free"]] = {}
            for part in parts:
                bounds: tuple[tuple[Literal["all", "small"], Amount], ...] = ("all", part.all), ("small", part.small)
                allowed: Allowed = "free"
                for calls, bound in bounds:
                    if off := _denied(draws, "llm" if calls == "all" else "slm"):
                        refused = refused or off.refused
                        continue
                    asked = usd + micros(bound.usd, up=True), tokens + bound.tokens
                    if over := _over(room, *asked, latest, now):
                        refused = refused or _why(over, *asked, now)
                        continue
                    (usd, tokens), allowed = asked, calls
                    break
                if allowed != "all":
                    limited[part.name] = allowed
            if usd or tokens:
                self._hold(execute, room, replace(whole, micros=usd, tokens=tokens), latest)
            return FanOut(usd / 1_000_000, tokens, limited, refused)

    def _settle_parts(self, id: str, paid: Sequence[Paid], left: Amount, now: float) -> None:
        with self._store.writing() as execute:
            latest = self._clock(execute, now)
            day, month = calendar(latest)
            marks = ", ".join("?" * len(paid))
            asked = f"SELECT id FROM calls WHERE id IN ({marks})"  # noqa: S608 - only placeholders are put in
            booked = {row["id"] for row in (execute(asked, [one.call.id for one in paid]) if paid else ())}
            spent: dict[str, tuple[int, int]] = {}
            for call, usd, tokens in (one for one in paid if one.call.id not in booked):
                keys = call.scopes(day, month)
                self._insert(execute, call, Room((), keys, {}, None), latest, latest)
                execute(
                    "UPDATE calls SET state = 'settled', real_micros = ?, real_tokens = ?, ended_at = ? WHERE id = ?",
                    (usd, tokens, latest, call.id),
                )
                for key in keys.values():
                    before = spent.get(key, (0, 0))
                    spent[key] = before[0] + usd, before[1] + tokens
            for key, amounts in spent.items():
                add(execute, [key], spent=amounts)
            for whole in execute("SELECT * FROM calls WHERE id = ? AND state = 'held'", (id,)):
                held = held_by(whole)
                keep = min(held[0], micros(left.usd, up=True)), min(held[1], left.tokens)
                add(execute, scopes_of(whole), held=(keep[0] - held[0], keep[1] - held[1]))
                execute(
                    "UPDATE calls SET estimated_micros = ?, estimated_tokens = ?, expires_at = ? WHERE id = ?",
                    (*keep, latest + self._budget.lease_s, id),
                )

    def _release_parts(self, id: str, now: float) -> None:
        with self._store.writing() as execute:
            self._forget(execute, id, self._clock(execute, now))

    def _room(self, execute: Execute, call: Call, limits: Sequence[Limit], latest: float) -> Room:
        day, month = calendar(latest)
        keys = call.scopes(day, month)
        counted = {limit.scope for limit in limits if limit.unit == "calls"} if call.of_tool else ()
        calls = {keys[scope]: self._counted(execute, call, scope, day) for scope in counted}
        totals = totals_of(execute, [*keys.values()])
        return Room(limits, keys, totals, backing_of(execute, call.drawn_on), call.of_tool, calls)

    def _counted(self, execute: Execute, call: Call, scope: str, day: str) -> int:
        """The calls of tools that count towards a cap of the scope, its own workflow's or that of one around it."""
        name, _, depth = scope.partition(" ")
        workflow = call.within[int(depth)][0] if depth else call.workflow
        return calls_of_tools(execute, day, workflow, call.principal if name == "principal" else "")

    def _note_used_up(self, call: Call, limit: Limit, now: float) -> None:
        """That a cap of the workflow or of one that it lies within had no room; caps of single runs and persons are
        theirs alone."""
        scope, _, depth = limit.scope.partition(" ")
        day, month = calendar(now)
        period = month if scope == "month" else day
        workflow = self._outer[int(depth)].workflow if depth else call.workflow
        row = (workflow, limit.name.removeprefix(f"{workflow}'s "), limit.of, period)
        if scope in ("run", "principal") or row in self._noted:
            return
        with self._store.writing() as execute:
            execute("INSERT INTO used_up VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", row)
        self._noted.add(row)

    def _hold(self, execute: Execute, room: Room, call: Call, latest: float) -> None:
        until = latest + self._budget.lease_s
        self._insert(execute, call, room, latest, until)
        room.take(execute, call.micros, call.tokens, until=until)

    def _insert(self, execute: Execute, call: Call, room: Room, latest: float, until: float) -> None:
        columns = {
            "id": call.id, "workflow": call.workflow, "run": call.run, "principal": call.principal,
            "intent": call.intent, "model": call.model, "day": calendar(latest)[0], "state": "held",
            "estimated_micros": call.micros, "estimated_tokens": call.tokens, "reserved_at": latest,
            "expires_at": until, "drawn_on": call.drawn_on, **self._where(call, room),
        }  # fmt: skip
        execute(
            f"INSERT INTO calls ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",  # noqa: S608
            [*columns.values()],
        )

    def _where(self, call: Call, room: Room) -> dict[str, Any]:
        """The column that tells which totals a reservation counts towards."""
        del room
        return {"within": json.dumps(call.within)}

    def _free_id(self, execute: Execute, id: str, latest: float, drawn_on: str) -> str:
        """The id of a call that may have been made before a crash. What the crash has left held goes back to what it
        was drawn on: the call takes its place, and not that of others. What was paid before stays paid."""
        while rows := execute("SELECT * FROM calls WHERE id = ?", (id,)):
            if rows[0]["state"] == "held":
                end(execute, rows[0], "expired", latest)
                execute("DELETE FROM calls WHERE id = ?", (id,))
                self._give_back(execute, rows[0], drawn_on)
                break
            id += "+"  # noqa: A001
        return id

    def _give_back(self, execute: Execute, ended: dict[str, Any], drawn_on: str) -> None:
        backing = backing_of(execute, drawn_on)
        if backing and backing.scopes <= {*scopes_of(ended)}:
            backing.give_back(execute, *held_by(ended))

    def _forget(self, execute: Execute, id: str, latest: float) -> None:
        """End a reservation for branches or items, and what is held of it."""
        for drawn in execute("SELECT * FROM calls WHERE drawn_on = ? AND state = 'held'", (id,)):
            if drawn["model"]:
                end(execute, drawn, "expired", latest)
            else:
                self._forget(execute, drawn["id"], latest)
        for whole in execute("SELECT * FROM calls WHERE id = ? AND model = ''", (id,)):
            if whole["state"] == "held":
                end(execute, whole, "released", latest)
            execute("DELETE FROM calls WHERE id = ?", (id,))

    def _end(self, id: str, real: tuple[int, int] | None, now: float) -> None:
        """Settle a call at its real amounts, or release it without any."""
        with self._store.writing() as execute:
            rows = execute("SELECT * FROM calls WHERE id = ?", (id,))
            if not rows or rows[0]["state"] == "settled":
                return
            latest = self._clock(execute, now)
            if real is not None:
                self._settle(execute, id, real, latest)
            elif rows[0]["state"] == "held":
                end(execute, rows[0], "released", latest)

    def _settle(self, execute: Execute, id: str, real: tuple[int, int], latest: float) -> None:
        (call,) = execute("SELECT * FROM calls WHERE id = ?", (id,))
        execute(
            "UPDATE calls SET state = 'settled', real_micros = ?, real_tokens = ?, ended_at = ? WHERE id = ?",
            (*real, latest, id),
        )
        held = held_by(call) if call["state"] == "held" else (0, 0)
        add(execute, scopes_of(call), held=(-held[0], -held[1]), spent=real)

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
            end(execute, call, "expired", now)

    def _limits(self, run: str, principal: str, intent: str) -> Iterator[Limit]:
        """The caps that apply to a call: the workflow's own, and those of the runs that it lies within."""
        yield from self._caps(run, principal, intent)
        for depth, outer in enumerate(self._outer):
            for cap in outer.ledger._caps(outer.run, principal, outer.intent):
                of = "" if cap.scope == "run" else cap.of
                yield replace(cap, name=f"{outer.workflow}'s {cap.name}", scope=outer_scope(cap.scope, depth), of=of)

    def _model_limits(self, run: str, principal: str, intent: str) -> list[Limit]:
        """Those that apply to the call of a model."""
        return [limit for limit in self._limits(run, principal, intent) if limit.unit != "calls"]

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
        calls = (
            ("per_principal_day_calls", "principal", principal, budget.per_principal_day_calls),
            ("per_day_calls", "day", "", budget.per_day_calls),
        )
        counts: tuple[tuple[Unit, tuple[tuple[str, str, str, int | None], ...]], ...]
        counts = ("tokens", tokens), ("calls", calls)
        for unit, caps in counts:
            for name, scope, of, count in caps:
                if count is not None:
                    yield Limit(name, scope, of, unit, count)


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


def _denied(draws: Sequence[Draw], size: str) -> Draw | None:
    """What does not let a branch or an item make a call that some cap counts."""
    return next((one for one in draws if one.allowed == "free" or (one.allowed, size) == ("small", "llm")), None)


def _over(room: Room, usd: int, tokens: int, latest: float, now: float) -> Over | None:
    """Why these amounts have no room."""
    if latest - now > SLACK_S and any(room.asked(limit, usd, tokens) for limit in room.limits):
        return Over(None, latest=latest)
    return room.over(usd, tokens)


def _why(over: Over, usd: int, tokens: int, now: float) -> str:
    if over.limit is None:
        return _gone_back(over.latest, now)
    asked = {"usd": usd, "tokens": tokens, "calls": 1}
    return over.limit.refusal(over.used, asked[over.limit.unit])


def _gone_back(latest: float, now: float) -> str:
    seen = datetime.fromtimestamp(latest, UTC).isoformat(timespec="seconds")
    return (
        f"the clock was set back: the ledger has seen {seen}, {latest - now:.0f} s later than now; "
        "`sluicegate budget clock --accept` accepts the current clock"
    )
