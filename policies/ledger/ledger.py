"""The account of money and tokens: reserve the upper bound of a call before it, settle its real cost after it.

Amounts are whole micro-dollars, so sums are exact. A reservation is checked against every cap and booked in one
transaction that no other process overlaps: reserved and spent together never pass a cap. Each reservation is a lease;
when its process dies, the next reservation after the lease releases it. A call that settles after its lease is booked
all the same, once: the money is gone, and the report says so even where that passes a cap.

A clock that jumps back would open the budget of a day that is over. Up to `SLACK_S` the ledger keeps the latest time
it has seen; beyond that it refuses paid calls under a cap until `accept_clock` is called.
"""

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import time
from typing import Any, Literal

from sluicegate.home import home
from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.policies.ledger.books import Books, over, why
from sluicegate.policies.ledger.calls import TOOL, Call, Limit, Over, Unit, calendar, micros, scopes
from sluicegate.policies.ledger.report import Group, spending
from sluicegate.policies.ledger.rows import add, backing_of, calls_of_tools, end, held_by, scopes_of, totals_of
from sluicegate.services import Allowed, Amount, Draw, FanOut, Part, Refusal, Reservation
from sluicegate.storage.database import Execute, SqliteDatabase
from sluicegate.storage.schemas import LEDGER

__all__ = ["BudgetLedger", "Cap", "SqliteLedger", "micros"]


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


class BudgetLedger(Books):
    """Implements `sluicegate.services.Ledger` for one workflow's budget over a shared store.

    Every method raises `RunError` SG606, SG607, SG608 or SG625 when the store cannot be written: a call that cannot be
    booked must not be made.
    """

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
        limits = self.model_limits(run, principal, intent)
        draws = self._draws(draw)
        drawn_on = draws[0].reservation if draws else ""
        known_as = f"{drawn_on} {run} {call}" if draws else uuid.uuid4().hex
        made = Call(known_as, workflow, run, principal, intent, model, amount, tokens, self.around, drawn_on)
        if any(limit.asked(made) for limit in limits) and (off := _denied(draws, size)):
            return Refusal("SG501", off.refused)
        booked, now = list[str | Over](), self.now()
        try:
            await self.store.call(lambda: booked.append(self._book(made, limits, now)))
        except asyncio.CancelledError:
            # nobody will settle what was booked
            for each in booked:
                if isinstance(each, str):
                    await self.store.call(self._end, each, None, now)
            raise
        (outcome,) = booked
        if isinstance(outcome, str):
            return Reservation(outcome, amount / 1_000_000)
        if outcome.limit:
            await self.store.call(self._note_used_up, made, outcome.limit, now)
        return Refusal("SG501", why(outcome, amount, tokens, now))

    async def reserve_parts(
        self, *, id: str, run: str, principal: str, intent: str, workflow: str, parts: Sequence[Part]
    ) -> FanOut:
        """As `services.Ledger.reserve_parts`."""
        draws = self._draws(None)
        drawn_on = draws[0].reservation if draws else ""
        whole = Call(id, workflow, run, principal, intent, "", 0, 0, self.around, drawn_on)
        limits, now = self.model_limits(run, principal, intent), self.now()
        if not limits:
            return FanOut()
        try:
            return await self.store.call(self._book_parts, whole, parts, limits, draws, now)
        except asyncio.CancelledError:
            await self.store.call(self._release_parts, id, now)
            raise

    async def release_parts(self, id: str) -> None:
        """As `services.Ledger.release_parts`."""
        await self.store.call(self._release_parts, id, self.now())

    async def charge(
        self, *, id: str, run: str, principal: str, intent: str, workflow: str, tool: str, usd: float
    ) -> Reservation | Refusal:
        """As `services.Ledger.charge`."""
        if switched := self.switched(model="", intent=intent, workflow=workflow):
            return switched
        made = Call(
            id, workflow, run, principal, intent, f"{TOOL}{tool}", micros(usd, up=True), 0, self.around, of_tool=True
        )
        now = self.now()
        reason = await self.store.call(self._charge, made, list(self.limits(run, principal, intent)), now)
        return (
            Refusal("SG501", why(reason, made.micros, 0, now)) if reason else Reservation(id, made.micros / 1_000_000)
        )

    async def refund(self, reservation: Reservation) -> None:
        """As `services.Ledger.refund`."""
        await self.store.call(self._refund, reservation.id, self.now())

    async def settle(self, reservation: Reservation, *, usd: float, tokens: int) -> None:
        """Book the real cost of a call. Repeating it changes nothing; after the lease it is still booked."""
        await self.store.call(self._end, reservation.id, (micros(usd), tokens), self.now())

    async def release(self, reservation: Reservation) -> None:
        """Release a reservation unspent. Repeating it, or releasing what was settled, changes nothing."""
        await self.store.call(self._end, reservation.id, None, self.now())

    def accept_clock(self) -> None:
        """Accept the machine's clock although the ledger has seen a later time."""
        with self.store.writing() as execute:
            execute("DELETE FROM clock")
            execute("INSERT INTO clock (id, latest) VALUES (1, ?)", (self.now(),))

    def caps(self, workflow: str, *, day: str | None = None) -> list[Cap]:
        """The use of the workflow's caps on a day (ISO date, UTC; today by default): the whole workflow's first,
        then each intent's and each principal's with spending on that day."""
        with self.store.writing() as execute:
            now = self.clock(execute, self.now())
            self.expire(execute, now)
            day = day or calendar(now)[0]
            people = execute(
                "SELECT DISTINCT principal, intent FROM calls WHERE workflow = ? AND day = ?", (workflow, day)
            )
            pairs = [("", ""), *((row["principal"], row["intent"]) for row in people)]
            found: dict[tuple[str, str], Cap] = {}
            for principal, intent in pairs:
                keys = scopes(workflow, "", principal, intent, day, day[:7])
                totals = totals_of(execute, [*keys.values()])
                for cap in self.caps_of("", principal, intent):
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
        with self.store.writing() as execute:
            rows = execute("SELECT * FROM used_up WHERE workflow = ? AND period IN (?, ?)", (workflow, *calendar(now)))
        return {(row["cap"], row["for_what"], row["period"]) for row in rows}

    def spending(
        self, *, by: Group = "workflow", since: str = "", daily: bool = False, of: Mapping[Group, str] | None = None
    ) -> list[dict[str, Any]]:
        """As `report.spending`."""
        with self.store.writing() as execute:
            self.expire(execute, self.clock(execute, self.now()))
            return spending(execute, by=by, since=since, daily=daily, of=of or {})

    def close(self) -> None:
        self.store.close()

    def _draws(self, own: Draw | None) -> list[Draw]:
        """What a call may draw on, the innermost first."""
        return [draw for draw in (own, *(one.draw for one in reversed(self.outer))) if draw]

    def _book(self, call: Call, limits: Sequence[Limit], now: float) -> Over | str:
        """Hold a call's amounts if every limit has room for them; its id, or the reason why not."""
        with self.store.writing() as execute:
            latest = self.clock(execute, now)
            self.expire(execute, latest)
            if call.drawn_on:
                call = replace(call, id=self._free_id(execute, call.id, latest, call.drawn_on))
            room = self.room(execute, call, limits, latest)
            if reason := over(room, call.micros, call.tokens, latest, now):
                return reason
            self.hold(execute, room, call, latest)
            return call.id

    def _charge(self, call: Call, limits: Sequence[Limit], now: float) -> Over | None:
        """Book the call of a tool as paid if every limit has room for it, or was paid for it before."""
        with self.store.writing() as execute:
            latest = self.clock(execute, now)
            self.expire(execute, latest)
            before = execute("SELECT state FROM calls WHERE id = ?", (call.id,))
            if before and before[0]["state"] == "settled":
                return None
            execute("DELETE FROM calls WHERE id = ?", (call.id,))
            room = self.room(execute, call, limits, latest)
            if reason := over(room, call.micros, 0, latest, now):
                return reason
            self.hold(execute, room, call, latest)
            self._settle(execute, call.id, (call.micros, 0), latest)
            return None

    def _refund(self, id: str, now: float) -> None:
        with self.store.writing() as execute:
            for paid in execute("SELECT * FROM calls WHERE id = ? AND state = 'settled'", (id,)):
                execute(
                    "UPDATE calls SET state = 'released', real_micros = NULL, real_tokens = NULL, ended_at = ?"
                    " WHERE id = ?",
                    (self.clock(execute, now), id),
                )
                add(execute, scopes_of(paid), spent=(-int(paid["real_micros"]), 0))

    def _book_parts(
        self, whole: Call, parts: Sequence[Part], limits: Sequence[Limit], draws: Sequence[Draw], now: float
    ) -> FanOut:
        """Hold what the parts may cost, each in turn, as far as every limit has room for it."""
        with self.store.writing() as execute:
            latest = self.clock(execute, now)
            self.expire(execute, latest)
            before = execute("SELECT * FROM calls WHERE id = ? AND state = 'held'", (whole.id,))
            self.forget(execute, whole.id, latest)
            for one in before:
                self._give_back(execute, one, whole.drawn_on)
            room = self.room(execute, whole, limits, latest)
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
                    if reason := over(room, *asked, latest, now):
                        refused = refused or why(reason, *asked, now)
                        continue
                    (usd, tokens), allowed = asked, calls
                    break
                if allowed != "all":
                    limited[part.name] = allowed
            if usd or tokens:
                self.hold(execute, room, replace(whole, micros=usd, tokens=tokens), latest)
            return FanOut(usd / 1_000_000, tokens, limited, refused)

    def _release_parts(self, id: str, now: float) -> None:
        with self.store.writing() as execute:
            self.forget(execute, id, self.clock(execute, now))

    def _note_used_up(self, call: Call, limit: Limit, now: float) -> None:
        """That a cap of the workflow or of one that it lies within had no room; caps of single runs and persons are
        theirs alone."""
        scope, _, depth = limit.scope.partition(" ")
        day, month = calendar(now)
        period = month if scope == "month" else day
        workflow = self.outer[int(depth)].workflow if depth else call.workflow
        row = (workflow, limit.name.removeprefix(f"{workflow}'s "), limit.of, period)
        if scope in ("run", "principal") or row in self._noted:
            return
        with self.store.writing() as execute:
            execute("INSERT INTO used_up VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", row)
        self._noted.add(row)

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

    def _end(self, id: str, real: tuple[int, int] | None, now: float) -> None:
        """Settle a call at its real amounts, or release it without any."""
        with self.store.writing() as execute:
            rows = execute("SELECT * FROM calls WHERE id = ?", (id,))
            if not rows or rows[0]["state"] == "settled":
                return
            latest = self.clock(execute, now)
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
