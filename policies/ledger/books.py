"""The books of a ledger: which caps apply to a call, what they leave, and the rows of what is reserved and spent.

What is added to them is a call or the branches and items of a run (`ledger`), or a block of a batch (`blocks`): each in
one transaction that no other process overlaps.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime
from time import time
from typing import Any, NamedTuple, Protocol, Self, TypeVar

from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.policies.ledger.calls import SLACK_S, Call, Limit, Over, Unit, calendar, micros, outer_scope
from sluicegate.policies.ledger.rows import Room, backing_of, calls_of_tools, end, totals_of
from sluicegate.services import Draw, Ledger, Refusal
from sluicegate.storage.database import Execute

__all__ = ["Books", "LedgerStore", "over", "why"]

T = TypeVar("T")


class Outer(NamedTuple):
    """A run that another one lies within."""

    ledger: "Books"
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


class Books:
    """Of one workflow's budget over a shared store."""

    def __init__(
        self,
        store: LedgerStore,
        budget: BudgetConfig | None = None,
        *,
        switch: KillSwitch | None = None,
        now: Callable[[], float] = time,
    ) -> None:
        self.store = store
        self.budget = budget or BudgetConfig()
        self._switch = switch
        self.now = now
        self.outer: tuple[Outer, ...] = ()
        self._noted: set[tuple[str, str, str, str]] = set()

    def within(self, outer: Ledger, *, run: str, workflow: str, intent: str, draw: Draw | None = None) -> Self:
        """As `services.Ledger.within`; the outer one keeps its books in the same store."""
        inner = copy(self)
        if isinstance(outer, Books):
            inner.outer = (*outer.outer, Outer(outer, run, workflow, intent, draw))
        return inner

    def capped(self) -> bool:
        """As `services.Ledger.capped`."""
        budgets = (self.budget, *(one.ledger.budget for one in self.outer))
        return any(budget.caps for budget in budgets)

    def switched(self, *, model: str, intent: str, workflow: str) -> Refusal | None:
        """As `services.Ledger.switched`."""
        off = self._switch.check(model=model, intent=intent, workflow=workflow) if self._switch else None
        if off:
            return Refusal("SG502", f"{off.name} is switched off: {off.reason}")
        outside = (one.ledger.switched(model=model, intent=one.intent, workflow=one.workflow) for one in self.outer)
        return next(filter(None, outside), None)

    @property
    def around(self) -> tuple[tuple[str, str, str], ...]:
        """Workflow, run and intent of each run that a call of this ledger lies within, the outermost first."""
        return tuple((one.workflow, one.run, one.intent) for one in self.outer)

    def room(self, execute: Execute, call: Call, limits: Sequence[Limit], latest: float) -> Room:
        """What the limits leave for a call."""
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

    def hold(self, execute: Execute, room: Room, call: Call, latest: float, *, lasting: bool = False) -> None:
        """Reserve a call's amounts; `lasting`: without a lease, until whoever has made it or takes it over ends it."""
        until = math.inf if lasting else latest + self.budget.lease_s
        self.insert(execute, call, room, latest, until)
        room.take(execute, call.micros, call.tokens, until=until)

    def insert(self, execute: Execute, call: Call, room: Room, latest: float, until: float) -> None:
        """Add the row of a call that is held, and no sums."""
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

    def forget(self, execute: Execute, id: str, latest: float) -> None:
        """End a reservation for branches or items, and what is held of it."""
        for drawn in execute("SELECT * FROM calls WHERE drawn_on = ? AND state = 'held'", (id,)):
            if drawn["model"]:
                end(execute, drawn, "expired", latest)
            else:
                self.forget(execute, drawn["id"], latest)
        for whole in execute("SELECT * FROM calls WHERE id = ? AND model = ''", (id,)):
            if whole["state"] == "held":
                end(execute, whole, "released", latest)
            execute("DELETE FROM calls WHERE id = ?", (id,))

    def clock(self, execute: Execute, now: float) -> float:
        """The effective time: the clock's, or the latest that the ledger has seen."""
        rows = execute("SELECT latest FROM clock")
        latest = float(rows[0]["latest"]) if rows else 0.0
        # once a second is enough to notice a jump, and saves a write
        if not rows:
            execute("INSERT INTO clock (id, latest) VALUES (1, ?)", (now,))
        elif now >= latest + 1:
            execute("UPDATE clock SET latest = ?", (now,))
        return max(now, latest)

    def expire(self, execute: Execute, now: float) -> None:
        for call in execute("SELECT * FROM calls WHERE state = 'held' AND expires_at < ?", (now,)):
            end(execute, call, "expired", now)

    def limits(self, run: str, principal: str, intent: str) -> Iterator[Limit]:
        """The caps that apply to a call: the workflow's own, and those of the runs that it lies within."""
        yield from self.caps_of(run, principal, intent)
        for depth, outer in enumerate(self.outer):
            for cap in outer.ledger.caps_of(outer.run, principal, outer.intent):
                of = "" if cap.scope == "run" else cap.of
                yield replace(cap, name=f"{outer.workflow}'s {cap.name}", scope=outer_scope(cap.scope, depth), of=of)

    def model_limits(self, run: str, principal: str, intent: str) -> list[Limit]:
        """Those that apply to the call of a model."""
        return [limit for limit in self.limits(run, principal, intent) if limit.unit != "calls"]

    def caps_of(self, run: str, principal: str, intent: str) -> Iterator[Limit]:
        """The caps of the workflow's own."""
        budget = self.budget
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


def over(room: Room, usd: int, tokens: int, latest: float, now: float) -> Over | None:
    """Why these amounts have no room."""
    if latest - now > SLACK_S and any(room.asked(limit, usd, tokens) for limit in room.limits):
        return Over(None, latest=latest)
    return room.over(usd, tokens)


def why(over: Over, usd: int, tokens: int, now: float) -> str:
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
