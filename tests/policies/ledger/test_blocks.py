"""Blocks of batches: whatever kills their workers, and whoever else spends meanwhile, the caps hold and nothing that
was spent is missing."""

import asyncio
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.ledger.blocks import LOST, Begun, BlockAccount, Cost
from sluicegate.policies.ledger.calls import Paid, calendar
from sluicegate.policies.ledger.ledger import BudgetLedger, SqliteLedger
from sluicegate.policies.ledger.postgres import PostgresLedger
from sluicegate.services import Reservation
from sluicegate.storage.postgres import server
from tests.policies.ledger.conftest import Clock
from tests.support.fan_outs import LEASE_S, NOON

CAP = 2_000
"""Micro-dollars of a day."""
BOUND: Cost = (400, 40)
"""Of a row."""
ROWS = ("r1", "r2", "r3")


def opened(where: Path | str, clock: Clock) -> BudgetLedger:
    """A ledger in a file, or on a server, which is emptied."""
    budget = BudgetConfig(per_day_usd=CAP / 1e6, lease_s=LEASE_S)
    if isinstance(where, Path):
        return SqliteLedger(budget, where, now=clock)
    ledger = PostgresLedger(server(where), budget, now=clock)
    with ledger.store.writing() as execute:
        for table in ("calls", "totals", "clock"):
            execute(f"DELETE FROM {table}")
    return ledger


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def ledger(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[BudgetLedger]:
    server_url = request.param == "postgres" and request.getfixturevalue("postgres")
    made = opened(server_url or tmp_path / "ledger.sqlite", clock)
    yield made
    made.close()


def day(ledger: BudgetLedger, of: str | None = None) -> Cost:
    """Spent and held, micro-dollars."""
    (found,) = (cap for cap in ledger.caps("letters", day=of) if cap.name == "per_day_usd")
    return round(found.spent * 1e6), round(found.held * 1e6)


def paid(account: BlockAccount, id: str, run: str, micros: int) -> Paid:
    call = account.call(id, run, "ann", intent="letter", model="openai:small", bound=BOUND)
    return Paid(call, micros, micros // 10)


def by_model(ledger: BudgetLedger) -> dict[str, tuple[int, int]]:
    """Calls and micro-dollars."""
    return {
        row["model"]: (row["calls"], round(row["usd"] * 1e6)) for row in ledger.spending(by="model") if row["model"]
    }


def test_calls_are_booked_once_and_the_rest_stays_held(ledger: BudgetLedger) -> None:
    block = BlockAccount(ledger, "b/0", "letters")
    assert not block.reserved()
    assert asyncio.run(block.reserve(dict.fromkeys(ROWS, BOUND))) == ({*ROWS}, "")
    assert day(ledger) == (0, 1200)
    first, second = paid(block, "a", "run-1", 300), paid(block, "b", "run-2", 200)
    asyncio.run(block.settle([first], (800, 80)))
    asyncio.run(block.settle([first, second], (400, 40)))
    assert (day(ledger), block.reserved()) == ((500, 400), True)
    asyncio.run(block.release())
    assert (day(ledger), block.reserved()) == ((500, 0), False)
    assert by_model(ledger) == {"openai:small": (2, 500)}


def test_rows_beyond_a_cap_wait_and_the_cap_is_named(ledger: BudgetLedger) -> None:
    asyncio.run(BlockAccount(ledger, "b/0", "letters").reserve(dict.fromkeys(ROWS, BOUND)))
    given, refused = asyncio.run(BlockAccount(ledger, "b/1", "letters").reserve(dict.fromkeys(ROWS, BOUND)))
    assert given == {"r1", "r2"}
    assert refused == "per_day_usd: $0.001200 of $0.002000 used or reserved, $0.001200 requested"


def test_a_killed_worker_holds_its_room_beyond_every_lease(ledger: BudgetLedger, clock: Clock) -> None:
    asyncio.run(BlockAccount(ledger, "b/0", "letters").reserve(dict.fromkeys(ROWS, BOUND)))
    clock.at += 10 * LEASE_S
    assert day(ledger) == (0, 1200)
    # one that has no room for all
    again = BlockAccount(ledger, "b/0", "letters")
    begun = [Begun("run-1", "ann", (250, 25), BOUND), Begun("run-2", "ann", (300, 30), BOUND, resting=True)]
    asyncio.run(again.take_over(begun))
    assert (day(ledger), again.reserved()) == ((250 + 150 + 300, 0), False)
    assert by_model(ledger) == {LOST: (3, 700)}


def test_each_kill_counts_what_was_under_way(ledger: BudgetLedger) -> None:
    begun = [Begun("run-1", "ann", (100, 10), BOUND)]
    for kills in range(1, 4):
        block = BlockAccount(ledger, "b/0", "letters")
        asyncio.run(block.reserve({"r1": BOUND}))
        asyncio.run(block.take_over(begun))
        assert day(ledger) == (100 + kills * 300, 0)
        # nothing has run since
        asyncio.run(block.take_over(begun))
        assert day(ledger) == (100 + kills * 300, 0)


def test_a_block_counts_on_the_day_of_its_reservation(ledger: BudgetLedger, clock: Clock) -> None:
    clock.at += 43_200 - 10
    block = BlockAccount(ledger, "b/0", "letters")
    asyncio.run(block.reserve(dict.fromkeys(ROWS, BOUND)))
    clock.at += 20
    asyncio.run(block.settle([paid(block, "a", "run-1", 300)], (800, 80)))
    asyncio.run(block.take_over([Begun("run-2", "ann", (0, 0), BOUND)]))
    assert day(ledger) == (0, 0)
    assert day(ledger, calendar(NOON)[0]) == (700, 0)


@dataclass
class Row:
    spent: int = 0
    """By its state, micro-dollars."""
    begun: bool = False
    ended: bool = False


@dataclass
class Block:
    """A block, with all that is really spent of it."""

    id: str
    rows: dict[str, Row] = field(default_factory=lambda: {name: Row() for name in ROWS})
    given: set[str] = field(default_factory=set[str])
    unsettled: list[Paid] = field(default_factory=list[Paid])
    running: bool = False


class World:
    """Blocks and others under one cap, and every cent that really goes."""

    def __init__(self, ledger: BudgetLedger, clock: Clock) -> None:
        self.ledger, self.clock, self.spent, self.kills = ledger, clock, 0, 0
        self.blocks = [Block("b/0"), Block("b/1")]
        self._ids = itertools.count()

    def account(self, block: Block) -> BlockAccount:
        return BlockAccount(self.ledger, block.id, "letters")

    def begin(self, block: Block, *, reserves: bool = True) -> None:
        """A worker takes the block up; it may be killed before it reserves."""
        rows = [
            Begun(f"{block.id} {name}", "ann", (row.spent, row.spent // 10), BOUND, row.ended)
            for name, row in block.rows.items()
            if row.begun
        ]
        asyncio.run(self.account(block).take_over(rows))
        if reserves:
            left = {name: BOUND for name, row in block.rows.items() if not row.ended}
            block.given, _ = asyncio.run(self.account(block).reserve(left))
            block.running = True

    def call(self, block: Block, name: str, micros: int, *, seen: bool) -> None:
        """A row calls a model; `seen`: before its worker is killed its state has it."""
        row = block.rows[name]
        if name not in block.given or row.ended or not block.running:
            return
        micros = min(micros, BOUND[0] - row.spent)
        row.begun = True
        self.spent += micros
        if seen:
            row.spent += micros
            block.unsettled.append(paid(self.account(block), str(next(self._ids)), f"{block.id} {name}", micros))
        else:
            self.kill(block)

    def end(self, block: Block, name: str) -> None:
        if block.running and name in block.given and block.rows[name].begun:
            block.rows[name].ended = True

    def settle(self, block: Block) -> None:
        if block.running:
            # what has not ended is held whole, and the calls of rows that have not are not booked yet
            names = {f"{block.id} {name}" for name, row in block.rows.items() if row.ended}
            now = [one for one in block.unsettled if one.call.run in names]
            block.unsettled = [one for one in block.unsettled if one not in now]
            left = sum(name in block.given and not row.ended for name, row in block.rows.items())
            asyncio.run(self.account(block).settle(now, (left * BOUND[0], left * BOUND[1])))

    def kill(self, block: Block) -> None:
        self.kills += block.running
        block.running, block.unsettled = False, []

    def other(self, micros: int) -> None:
        who: dict[str, Any] = {"run": f"other {next(self._ids)}", "principal": "bob", "intent": "letter"}
        made = asyncio.run(self.ledger.reserve(**who, workflow="letters", model="m", usd=micros / 1e6, tokens=1))
        if isinstance(made, Reservation):
            asyncio.run(self.ledger.settle(made, usd=micros / 1e6, tokens=1))
            self.spent += micros

    def step(self, step: str, number: int, name: str, micros: int) -> None:
        block = self.blocks[number]
        match step:
            case "begin":
                if not block.running:
                    self.begin(block, reserves=micros % 4 > 0)
            case "call" | "last call":
                self.call(block, name, micros, seen=step == "call")
            case "end":
                self.end(block, name)
            case "settle":
                self.settle(block)
            case "kill":
                self.kill(block)
            case "other":
                self.other(micros)
            case _:
                self.clock.at += micros

    def must_hold(self) -> None:
        booked, held = day(self.ledger)
        assert self.spent <= booked + held <= CAP

    def over(self) -> None:
        """Everybody is killed, and what they had is taken over."""
        for block in self.blocks:
            self.kill(block)
            self.begin(block, reserves=False)
            self.must_hold()
        booked, held = day(self.ledger)
        assert held == 0
        assert self.spent <= booked <= self.spent + self.kills * len(ROWS) * BOUND[0]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "begin", "call", "call", "last call", "end", "settle", "kill", "other", "wait"]),
        st.integers(0, 1),
        st.sampled_from(ROWS),
        st.integers(0, 400),
    ),
    max_size=30,
)


def goes_through(ledger: BudgetLedger, clock: Clock, steps: list[tuple[str, int, str, int]]) -> None:
    world = World(ledger, clock)
    for step in steps:
        world.step(*step)
        world.must_hold()
    world.over()
    ledger.close()


@pytest.mark.slow
@settings(max_examples=60)
@given(STEPS)
def test_whatever_is_killed_the_cap_holds_and_nothing_is_missing(tmp_path: Path, steps: list[Any]) -> None:
    clock = Clock()
    goes_through(opened(tmp_path / os.urandom(6).hex(), clock), clock, steps)


@pytest.mark.slow
@settings(max_examples=15)
@given(STEPS)
def test_whatever_is_killed_the_cap_holds_on_a_server(postgres: str, steps: list[Any]) -> None:
    clock = Clock()
    goes_through(opened(postgres, clock), clock, steps)
