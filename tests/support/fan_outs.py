"""Random schedules of runs that fan out over one ledger: what is reserved, drawn, paid, lost in crashes, released.

Every operation of a ledger is one transaction, so an order of operations stands for any number of processes. After
each of them no total may pass its cap, and a call within a bound that was granted may not be refused.
"""

import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.ledger.ledger import BudgetLedger
from sluicegate.policies.ledger.rows import held_by, scopes_of
from sluicegate.services import Amount, Draw, FanOut, Part, Reservation
from sluicegate.storage.database import SqliteDatabase
from sluicegate.storage.schemas import LEDGER

NOON = 1_795_694_400.0
MIDNIGHT = NOON + 43_200
LEASE_S = 300.0
SIZES = ("slm", "llm")


@dataclass
class Found:
    """What schedules came to."""

    schedules: int = 0
    operations: int = 0
    granted: int = 0
    """Branches and items that had room for all their calls."""
    limited: int = 0
    """Those that had not."""
    drawn: int = 0
    crashes: int = 0
    overspent: list[str] = field(default_factory=list)
    """Totals that passed their caps."""
    broken: list[str] = field(default_factory=list)
    """Calls that were refused within a bound that was granted, or made although they were not allowed."""
    leaked: list[str] = field(default_factory=list)
    """What is still held when every run is over, and totals that are not the sums of their reservations."""


@dataclass(frozen=True)
class _Call:
    key: str
    usd: float
    tokens: int
    size: Any


@dataclass
class _Branch:
    name: str
    calls: list[_Call]
    child: BudgetConfig | None
    """The budget of the workflow that it runs; None where it runs none."""
    inner: "list[_Branch]" = field(default_factory=list)
    """Those of the fork that the workflow has."""

    def bound(self, *sizes: str) -> Amount:
        of = [call for each in (self, *self.inner) for call in each.calls if call.size in sizes]
        return Amount(round(sum(call.usd for call in of), 6), sum(call.tokens for call in of))


def in_memory() -> Callable[..., BudgetLedger]:
    """Makes ledgers over one new store."""
    store = SqliteDatabase(":memory:", LEDGER)
    return lambda budget, now: BudgetLedger(store, budget, now=now)


async def play(make: Callable[..., BudgetLedger], seeds: range, found: Found | None = None) -> Found:
    """Play these schedules, each on an empty ledger and the same whenever it is played. `make(budget, now)` opens
    ledgers over one store."""
    found = found or Found()
    for seed in seeds:
        await _Schedule(make, seed, found).play()
        found.schedules += 1
    return found


class _Schedule:
    def __init__(self, make: Callable[..., BudgetLedger], seed: int, found: Found) -> None:
        chance = self.chance = random.Random(seed)
        self.make, self.found, self.seed = make, found, seed
        self.now, self.pauses = chance.choice([NOON, NOON, MIDNIGHT - 20]), 0
        self.beyond = set[str]()
        """The fan-outs that ask for more than was bound."""
        some = [None, 0.01, 0.02, 0.05]
        self.budget = BudgetConfig(
            per_run_usd=chance.choice(some),
            per_principal_day_usd=chance.choice(some),
            per_intent_day_usd=chance.choice(some),
            per_day_usd=chance.choice([None, 0.05, 0.1]),
            per_month_usd=chance.choice([None, 0.08]),
            per_run_tokens=chance.choice([None, None, 1000, 3000]),
            per_day_tokens=chance.choice([None, None, 5000]),
            lease_s=LEASE_S,
        )
        self.ledger = make(self.budget, self.clock)

    def clock(self) -> float:
        return self.now

    async def play(self) -> None:
        with self.ledger.store.writing() as execute:
            for table in ("calls", "totals", "clock"):
                execute(f"DELETE FROM {table}")
        chance = self.chance
        runs = [self.run(number) for number in range(chance.randint(1, 4))]
        while runs:
            one = chance.choice(runs)
            try:
                await anext(one)
            except StopAsyncIteration:
                runs.remove(one)
            self.found.operations += 1
            self.check()
            self.now += chance.choice([0, 0, 1, 5])
            if chance.random() < 0.01:
                self.now += LEASE_S + 1
                self.pauses += 1
        self.now += LEASE_S + 1
        self.ledger.caps("w")  # what nobody has released
        self.check(over=True)

    async def run(self, number: int) -> AsyncGenerator[None]:
        chance, run = self.chance, f"r{number}"
        who = {"principal": chance.choice("ab"), "intent": chance.choice("ij"), "workflow": "w"}
        for visit in range(chance.randint(1, 2)):
            fork, nested = f"{run}/each#{visit}", chance.random() < 0.3
            branches = [self.branch(n, nested and n == 0) for n in range(chance.randint(1, 4))]
            async for _ in self.fan_out(self.ledger, fork, run, who, branches):
                yield
            if chance.random() < 0.5:
                since = self.pauses
                made = await self.ledger.reserve(run=run, **who, model="m", usd=0.002, tokens=40)
                yield
                if isinstance(made, Reservation) and chance.random() < 0.9 and self.alive(since):
                    await self.ledger.settle(made, usd=0.001, tokens=30)

    def alive(self, since: int) -> bool:
        """Whether no call has outlasted its lease meanwhile."""
        return self.pauses == since

    def branch(self, number: int, nested: bool = False) -> _Branch:
        chance = self.chance
        calls = [
            _Call(
                f"n{n}#1", chance.choice([0.0, 0.0, 0.001, 0.004, 0.01]), chance.randint(0, 400), chance.choice(SIZES)
            )
            for n in range(chance.randint(0, 3))
        ]
        if not nested:
            return _Branch(f"b{number}", calls, None)
        child = BudgetConfig(per_run_usd=chance.choice([None, 0.005]), lease_s=LEASE_S)
        if chance.random() < 0.5:
            return _Branch(f"b{number}", calls, child)
        return _Branch(f"b{number}", [], child, [self.branch(n) for n in range(2)])

    async def fan_out(
        self, ledger: BudgetLedger, id: str, run: str, who: dict[str, str], branches: list[_Branch], capped: str = ""
    ) -> AsyncGenerator[None]:
        """`capped` is the fan-out around a workflow that may have a cap of its own."""
        chance, since = self.chance, self.epoch()
        parts = [Part(each.name, each.bound(*SIZES), each.bound("slm")) for each in branches]
        made: FanOut = await ledger.reserve_parts(id=id, run=run, **who, parts=parts)
        if chance.random() < 0.15:  # killed before its step was written down
            self.found.crashes += 1
            yield
            made = await ledger.reserve_parts(id=id, run=run, **who, parts=parts)
        self.found.limited += len(made.limited)
        self.found.granted += len(parts) - len(made.limited)
        yield
        at_work = [self.calls(ledger, each, id, run, who, made, since, capped) for each in branches]
        while at_work:
            one = chance.choice(at_work)
            try:
                await anext(one)
            except StopAsyncIteration:
                at_work.remove(one)
            yield
        for _ in range(chance.choice([0, 1, 1, 1, 2])):
            await ledger.release_parts(id)
            yield

    async def calls(
        self, ledger: BudgetLedger, branch: _Branch, id: str, run: str, who: dict[str, str], made: FanOut, since: Any,
        capped: str,
    ) -> AsyncGenerator[None]:  # fmt: skip
        chance, allowed = self.chance, made.limited.get(branch.name, "all")
        draw: Draw | None = Draw(id, allowed, made.refused)
        if branch.child:
            ledger = self.make(branch.child, self.clock).within(
                ledger, run=run, workflow=who["workflow"], intent=who["intent"], draw=draw
            )
            run, who, draw, capped = f"{run}~{id}", {**who, "workflow": "child"}, None, id
            if branch.inner:
                async for _ in self.fan_out(ledger, f"{run}/each#1", run, who, branch.inner, capped):
                    yield
                return
        for bound in branch.calls:
            call = bound
            if chance.random() < 0.05:  # a prompt longer than its bound
                call = replace(bound, usd=3 * bound.usd + 0.001, tokens=3 * bound.tokens)
                self.beyond |= {id, capped}
            for attempt in range(2):
                at = self.pauses
                got = await ledger.reserve(
                    run=run, **who, model="m", usd=call.usd, tokens=call.tokens, size=call.size,
                    call=f"{branch.name} {call.key}", draw=draw,
                )  # fmt: skip
                self.judge(call, allowed, got, id, since, capped)
                yield
                if not isinstance(got, Reservation):
                    break
                if attempt == 0 and chance.random() < 0.2:  # killed with the call on its way
                    self.found.crashes += 1
                    continue
                if not self.alive(at):
                    break  # it took longer than its lease: as lost as one of a killed process
                if chance.random() < 0.1:
                    await ledger.release(got)
                else:
                    share = chance.choice([0.0, 0.5, 1.0])
                    await ledger.settle(got, usd=call.usd * share, tokens=int(call.tokens * share))
                yield
                if attempt == 0 and chance.random() < 0.1:  # killed after it was paid: made once more
                    self.found.crashes += 1
                    self.beyond |= {id, capped}
                    continue
                break

    def epoch(self) -> tuple[int, int]:
        """Grants hold as long as this does: no pause longer than a lease, and the same day."""
        return self.pauses, int(self.now // 86_400)

    def judge(self, call: _Call, allowed: str, got: object, id: str, since: Any, capped: str) -> None:
        counted = any(
            cap is not None and (call.usd if name.endswith("_usd") else call.tokens)
            for name, cap in self.budget
            if name != "lease_s"
        )
        denied = allowed == "free" or (allowed == "small" and call.size == "llm")
        what = f"schedule {self.seed}: {call} ({allowed}): {got}"
        if isinstance(got, Reservation):
            self.found.drawn += 1
            if denied and counted:
                self.found.broken.append(what)
        elif not denied and not capped and self.epoch() == since and id not in self.beyond:
            self.found.broken.append(what)

    def check(self, *, over: bool = False) -> None:
        """No total passes its cap, and each is the sum of its reservations; `over` when nothing may be held."""
        with self.ledger.store.writing() as execute:
            totals = {row["scope"]: row for row in execute("SELECT * FROM totals")}
            calls = execute("SELECT * FROM calls")
        held, spent = Counter[str](), Counter[str]()
        for call in calls:
            if min(held_by(call)) < 0:
                self.found.overspent.append(f"schedule {self.seed}: more drawn than reserved: {call}")
            for scope in scopes_of(call):
                for unit, amount in zip(("micros", "tokens"), held_by(call), strict=True):
                    held[f"{unit} {scope}"] += amount if call["state"] == "held" else 0
                    spent[f"{unit} {scope}"] += call[f"real_{unit}"] or 0
        for scope, row in totals.items():
            for unit in ("micros", "tokens"):
                sums = row[f"held_{unit}"], row[f"spent_{unit}"]
                if sums != (held[f"{unit} {scope}"], spent[f"{unit} {scope}"]) or (over and sums[0]):
                    self.found.leaked.append(f"schedule {self.seed}: {unit} of {scope}: {sums}")
                cap = self.cap(scope, unit)
                if cap is not None and sum(sums) > cap:
                    self.found.overspent.append(f"schedule {self.seed}: {unit} of {scope}: {sum(sums)} of {cap}")

    def cap(self, scope: str, unit: str) -> float | None:
        kind, _, rest = scope.partition(" ")
        if kind != "run":
            if not rest.startswith("'w'"):
                return None
            kind = {"day": "day", "month": "month"}.get(kind, f"{kind}_day")
        elif "~" in rest:
            return None  # a workflow within another one: its own cap is in its refusals
        cap = getattr(self.budget, f"per_{kind}_{'usd' if unit == 'micros' else 'tokens'}", None)
        return cap * 1_000_000 if cap is not None and unit == "micros" else cap
