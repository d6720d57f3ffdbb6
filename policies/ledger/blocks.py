"""The account of a block of a batch: one reservation for many rows, booked some rows at a time.

It has no lease. A worker that is killed, or that stands still, leaves what it may have spent reserved, so that nobody
else is given that room before whoever does the block again has booked it. All of a reservation counts on the day that
it was made, as a single call does.

What a killed worker's rows have cost is known but for what was under way, which a row's state does not have. Each kill
adds that once more: the most that the rest of the row's run may cost, in all no more than was reserved.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sluicegate.policies.ledger.books import Books, over, why
from sluicegate.policies.ledger.calls import Call, Paid, calendar, scopes
from sluicegate.policies.ledger.rows import Room, add, held_by, scopes_of, totals_of
from sluicegate.storage.database import Execute

__all__ = ["LOST", "Begun", "BlockAccount", "Cost"]

LOST = "killed-worker"
"""What reports name in the place of a model for what a killed worker has spent."""

Cost = tuple[int, int]
"""Micro-dollars and tokens."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A row whose run has begun under an earlier reservation of its block."""

    run: str
    asker: str
    spent: Cost
    """By its state."""
    bound: Cost
    """Of its whole run."""
    resting: bool = False
    """It has ended, or waits for a person: nothing of it was under way."""


class BlockAccount:
    """One block's. Every method raises as those of `BudgetLedger` do when the store cannot be written."""

    def __init__(self, books: Books, id: str, workflow: str) -> None:
        self._books, self._id = books, id
        self._whole = Call(id, workflow, id, "", "", "", 0, 0, books.around)

    def call(self, id: str, run: str, asker: str, *, intent: str, model: str, bound: Cost) -> Call:
        """Of a row."""
        return replace(
            self._whole, id=id, run=run, principal=asker, intent=intent, model=model, micros=bound[0], tokens=bound[1]
        )

    def reserved(self) -> bool:
        """Whether there is a reservation. Before this worker has made one, it is that of one that has died."""
        with self._books.store.writing() as execute:
            return bool(self._reservation(execute))

    async def reserve(self, bounds: Mapping[str, Cost]) -> tuple[set[str], str]:
        """Reserve for as many rows as every cap has room for, in the place of what is reserved; their names, and the
        cap that had no room for the others."""
        return await self._books.store.call(self._reserve, bounds, self._books.now())

    async def settle(self, paid: Sequence[Paid], left: Cost) -> None:
        """Book calls of rows, each once by its id, and keep what is `left` reserved, in one transaction."""
        await self._books.store.call(self._settle, paid, left, self._books.now())

    async def take_over(self, rows: Sequence[Begun]) -> None:
        """Book what earlier workers have spent for these rows and not booked, and release what they had reserved."""
        await self._books.store.call(self._take_over, rows, self._books.now())

    async def release(self) -> None:
        """Release what is reserved. Repeating it changes nothing."""
        await self._books.store.call(self._release, self._books.now())

    def _reserve(self, bounds: Mapping[str, Cost], now: float) -> tuple[set[str], str]:
        books, limits = self._books, self._books.model_limits(self._id, "", "")
        with books.store.writing() as execute:
            latest = books.clock(execute, now)
            books.expire(execute, latest)
            books.forget(execute, self._id, latest)
            room = books.room(execute, self._whole, limits, latest)
            held, refused = (0, 0), ""
            given = set[str]()
            for name, bound in bounds.items():
                asked = _plus(held, bound)
                if reason := over(room, *asked, latest, now):
                    refused = refused or why(reason, *asked, now)
                else:
                    held = asked
                    given.add(name)
            # one of nothing too: it tells that a worker has begun
            whole = replace(self._whole, micros=held[0], tokens=held[1])
            books.hold(execute, room, whole, latest, lasting=True)
        return given, refused

    def _settle(self, paid: Sequence[Paid], left: Cost, now: float) -> None:
        with self._books.store.writing() as execute:
            latest = self._books.clock(execute, now)
            whole = self._reservation(execute)
            self._book(execute, paid, whole, latest)
            if whole:
                held = held_by(whole)
                keep = min(held[0], left[0]), min(held[1], left[1])
                add(execute, scopes_of(whole), held=_minus(keep, held))
                execute("UPDATE calls SET estimated_micros = ?, estimated_tokens = ? WHERE id = ?", (*keep, self._id))

    def _take_over(self, rows: Sequence[Begun], now: float) -> None:
        with self._books.store.writing() as execute:
            latest = self._books.clock(execute, now)
            whole = self._reservation(execute)
            booked = _spent(execute, [row.run for row in rows])
            earlier = {row.run: list(self._earlier(execute, row)) for row in rows}
            known, unknown = list[Paid](), list[Paid]()
            for row in rows:
                lost = (0, 0)
                for one in earlier[row.run]:
                    lost = _plus(lost, one)
                before = _minus(booked[row.run], lost)
                if any(cost := _positive(_minus(row.spent, before))):
                    once = f"{self._id}/{row.run}/{before[0]}/{before[1]}"
                    known.append(self._lost(once, row, cost))
                if whole and not row.resting and any(cost := _positive(_minus(row.bound, row.spent))):
                    unknown.append(self._lost(self._loss(row, len(earlier[row.run])), row, cost))
            if whole:
                left = held_by(whole)
                for paid in known:
                    left = _positive(_minus(left, paid[1:]))
                unknown = list(_within(unknown, left))
            self._book(execute, [*known, *unknown], whole, latest)
            self._books.forget(execute, self._id, latest)

    def _release(self, now: float) -> None:
        with self._books.store.writing() as execute:
            self._books.forget(execute, self._id, self._books.clock(execute, now))

    def _reservation(self, execute: Execute) -> Mapping[str, Any] | None:
        return next(iter(execute("SELECT * FROM calls WHERE id = ? AND model = ''", (self._id,))), None)

    def _book(self, execute: Execute, paid: Sequence[Paid], whole: Mapping[str, Any] | None, latest: float) -> None:
        """Add what was paid, on the day of the reservation that it is paid of."""
        at = float(whole["reserved_at"]) if whole else latest
        day, month = calendar(at)
        known = _booked(execute, [one.call.id for one in paid])
        spent: dict[str, Cost] = {}
        for call, usd, tokens in (one for one in paid if one.call.id not in known):
            keys = call.scopes(day, month)
            self._books.insert(execute, call, Room((), keys, {}, None), at, latest)
            execute(
                "UPDATE calls SET state = 'settled', real_micros = ?, real_tokens = ?, ended_at = ? WHERE id = ?",
                (usd, tokens, latest, call.id),
            )
            for key in keys.values():
                spent[key] = _plus(spent.get(key, (0, 0)), (usd, tokens))
        for key, amounts in spent.items():
            add(execute, [key], spent=amounts)

    def _earlier(self, execute: Execute, row: Begun) -> Iterable[Cost]:
        """What earlier kills of this row's worker have booked for what was under way."""
        number = 0
        while found := execute("SELECT * FROM calls WHERE id = ?", (self._loss(row, number),)):
            yield int(found[0]["real_micros"]), int(found[0]["real_tokens"])
            number += 1

    def _loss(self, row: Begun, number: int) -> str:
        return f"{self._id}/{row.run}/lost/{number}"

    def _lost(self, id: str, row: Begun, cost: Cost) -> Paid:
        return Paid(self.call(id, row.run, row.asker, intent="", model=LOST, bound=cost), *cost)


def _spent(execute: Execute, runs: Sequence[str]) -> dict[str, Cost]:
    """What each of these runs has spent."""
    keys = {run: scopes("", run, "", "", "", "")["run"] for run in runs}
    totals = totals_of(execute, [*keys.values()]) if keys else {}
    return {run: (totals[key].spent_micros, totals[key].spent_tokens) for run, key in keys.items()}


def _booked(execute: Execute, ids: Sequence[str]) -> set[str]:
    marks = ", ".join("?" * len(ids))
    asked = f"SELECT id FROM calls WHERE id IN ({marks})"  # noqa: S608 - only placeholders are put in
    return {row["id"] for row in (execute(asked, ids) if ids else ())}


def _within(paid: Iterable[Paid], left: Cost) -> Iterable[Paid]:
    """What was under way was within what is left of the reservation, all together."""
    for one in paid:
        cost = min(one.micros, left[0]), min(one.tokens, left[1])
        if any(cost):
            left = _minus(left, cost)
            yield Paid(replace(one.call, micros=cost[0], tokens=cost[1]), *cost)


def _plus(one: Cost, other: Cost) -> Cost:
    return one[0] + other[0], one[1] + other[1]


def _minus(one: Cost, other: Cost) -> Cost:
    return one[0] - other[0], one[1] - other[1]


def _positive(cost: Cost) -> Cost:
    return max(0, cost[0]), max(0, cost[1])
