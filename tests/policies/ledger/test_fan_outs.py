"""Branches and items: what they may cost is set aside before the first of them begins, and never twice."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.ledger.ledger import BudgetLedger, SqliteLedger
from sluicegate.policies.ledger.postgres import PostgresLedger
from sluicegate.services import Amount, Draw, FanOut, Part, Refusal, Reservation
from sluicegate.storage.postgres import server
from tests.policies.ledger.conftest import Clock
from tests.support import ROOT
from tests.support.fan_outs import LEASE_S, in_memory, play

RUN = {"run": "r1", "principal": "alice", "intent": "reset", "workflow": "helpdesk"}
FORK = "r1/gather#1"
LARGE, SMALL = Amount(0.01, 1000), Amount(0.002, 400)


def fan_out(ledger: BudgetLedger, *parts: tuple[Amount, Amount], id: str = FORK, **change: str) -> FanOut:
    named = [Part(f"b{number}", *each) for number, each in enumerate(parts)]
    return asyncio.run(ledger.reserve_parts(id=id, **{**RUN, **change}, parts=named))


def call(ledger: BudgetLedger, usd: float = 0.01, tokens: int = 1000, **more: Any) -> Reservation | Refusal:
    draw = more.pop("draw", Draw(FORK))
    return asyncio.run(
        ledger.reserve(**{**RUN, "model": "m", "call": "a#1", **more}, usd=usd, tokens=tokens, draw=draw)
    )


def held(ledger: BudgetLedger, **more: Any) -> Reservation:
    made = call(ledger, **more)
    assert isinstance(made, Reservation), made
    return made


def day(ledger: BudgetLedger, workflow: str = "helpdesk") -> tuple[float, float]:
    """Spent and held."""
    (found,) = [cap for cap in ledger.caps(workflow) if cap.name == "per_day_usd"]
    return round(found.spent, 6), round(found.held, 6)


def test_all_is_reserved_at_once_drawn_on_and_released(opened: Any) -> None:
    ledger = opened(per_day_usd=1)
    assert fan_out(ledger, (LARGE, SMALL), (LARGE, SMALL)) == FanOut(0.02, 2000)
    assert day(ledger) == (0.0, 0.02)
    first = held(ledger)
    assert day(ledger) == (0.0, 0.02)
    asyncio.run(ledger.settle(first, usd=0.004, tokens=300))
    assert day(ledger) == (0.004, 0.01)
    for _ in range(2):
        asyncio.run(ledger.release_parts(FORK))
        assert day(ledger) == (0.004, 0.0)
    (row,) = ledger.spending(by="model")
    assert (row["model"], row["calls"], row["held_usd"], row["expired"]) == ("m", 1, 0.0, 0)


def test_others_see_what_is_set_aside(opened: Any) -> None:
    ledger = opened(per_day_usd=0.03)
    fan_out(ledger, (LARGE, SMALL), (LARGE, SMALL))
    other = call(ledger, usd=0.011, draw=None, run="r2")
    assert other == Refusal("SG501", "per_day_usd: $0.020000 of $0.030000 used or reserved, $0.011000 requested")
    held(ledger, usd=0.01, draw=None, run="r2")
    held(ledger, usd=0.01, call="a#1")
    held(ledger, usd=0.01, call="b#1")
    assert isinstance(call(ledger, usd=0.000001, call="c#1"), Refusal)


@pytest.mark.parametrize(
    ("cap", "limited"),
    [
        (0.03, {}),
        (0.029, {"b2": "small"}),
        (0.014, {"b1": "small", "b2": "small"}),
        (0.0125, {"b1": "small", "b2": "free"}),
        (0.002, {"b0": "small", "b1": "free", "b2": "free"}),
        (0.0, {"b0": "free", "b1": "free", "b2": "free"}),
    ],
)
def test_what_has_no_room_is_decided_in_the_order_of_the_parts(
    opened: Any, cap: float, limited: dict[str, str]
) -> None:
    ledger = opened(per_run_usd=cap)
    made = fan_out(ledger, *[(LARGE, SMALL)] * 3)
    assert made.limited == limited
    assert made.usd <= cap
    assert bool(made.refused) == bool(limited)
    assert "per_run_usd" in made.refused or not limited


def test_a_smaller_branch_fits_where_a_larger_one_before_it_did_not(opened: Any) -> None:
    ledger = opened(per_run_tokens=1200)
    made = fan_out(ledger, (Amount(0, 2000), Amount(0, 1500)), (LARGE, SMALL))
    assert made == FanOut(0.01, 1000, {"b0": "free"}, made.refused)
    assert made.refused == "per_run_tokens: 0 tokens of 1200 tokens used or reserved, 2000 tokens requested"


@pytest.mark.parametrize("allowed", ["small", "free"])
def test_a_branch_without_room_makes_no_call_that_a_cap_counts(opened: Any, allowed: Any) -> None:
    ledger = opened(per_day_usd=1)
    draw = Draw(FORK, allowed, "per_day_usd: too little")
    assert call(ledger, size="llm", draw=draw) == Refusal("SG501", "per_day_usd: too little")
    held(ledger, size="llm", usd=0.0, draw=draw)
    small = call(ledger, size="slm", draw=draw, call="b#1")
    assert isinstance(small, Reservation if allowed == "small" else Refusal)


@pytest.mark.parametrize(
    "budget",
    [
        {"per_run_usd": 0.02},
        {"per_principal_day_usd": 0.02},
        {"per_intent_day_usd": {"reset": 0.02}},
        {"per_day_usd": 0.02},
        {"per_month_usd": 0.02},
        {"per_run_tokens": 2000},
        {"per_principal_day_tokens": 2000},
        {"per_day_tokens": 2000},
    ],
)
def test_every_cap_holds(opened: Any, budget: dict[str, Any]) -> None:
    ledger = opened(**budget)
    assert ledger.capped()
    assert fan_out(ledger, *[(LARGE, SMALL)] * 3).limited == {"b2": "free"}
    held(ledger, call="a#1")
    held(ledger, call="b#1")
    assert next(iter(budget)) in str(call(ledger, call="c#1"))


def test_without_a_cap_nothing_is_written(opened: Any) -> None:
    ledger = opened()
    assert not ledger.capped()
    assert fan_out(ledger, (LARGE, SMALL)) == FanOut()
    assert ledger.spending() == []


def test_a_fork_that_is_repeated_after_a_crash_reserves_once(opened: Any) -> None:
    ledger = opened(per_day_usd=0.02)
    for _ in range(3):
        assert fan_out(ledger, (LARGE, SMALL), (LARGE, SMALL)).limited == {}
        assert day(ledger) == (0.0, 0.02)


def test_a_call_that_is_repeated_after_a_crash_takes_the_place_of_the_first(opened: Any) -> None:
    ledger = opened(per_day_usd=0.02)
    fan_out(ledger, (LARGE, SMALL), (LARGE, SMALL))
    first = held(ledger, call="a#1")
    again = held(ledger, call="a#1")
    assert first == again
    held(ledger, call="b#1")
    assert day(ledger) == (0.0, 0.02)
    asyncio.run(ledger.settle(again, usd=0.01, tokens=1000))
    # one that was paid before the crash stays paid, and is not free a second time
    assert isinstance(call(ledger, call="a#1"), Refusal)
    assert day(ledger) == (0.01, 0.01)


def test_a_repeated_call_takes_nothing_of_what_is_set_aside_for_others(opened: Any) -> None:
    ledger = opened(per_day_usd=0.03)
    fan_out(ledger, (LARGE, SMALL), (LARGE, SMALL))
    held(ledger, call="a#1")
    again = held(ledger, call="a#1")
    asyncio.run(ledger.settle(again, usd=0.01, tokens=1000))
    # another run takes all that is left, and the other branch has its own
    held(ledger, usd=0.01, draw=None, run="r2")
    assert isinstance(call(ledger, usd=0.000001, draw=None, run="r2"), Refusal)
    held(ledger, call="b#1")
    assert day(ledger) == (0.01, 0.02)


def test_calls_that_a_crash_has_left_are_released_at_the_join(opened: Any) -> None:
    ledger = opened(per_day_usd=0.02)
    fan_out(ledger, (LARGE, SMALL), (LARGE, SMALL))
    held(ledger)
    asyncio.run(ledger.release_parts(FORK))
    assert day(ledger) == (0.0, 0.0)
    assert sum(row["expired"] for row in ledger.spending()) == 1


def test_a_run_that_nobody_resumes_gives_everything_back_after_the_lease(opened: Any, clock: Clock) -> None:
    ledger = opened(per_day_usd=0.02, lease_s=LEASE_S)
    fan_out(ledger, (LARGE, SMALL), (LARGE, SMALL))
    clock.at += LEASE_S - 1
    held(ledger)  # from now on another lease
    clock.at += LEASE_S - 1
    assert day(ledger) == (0.0, 0.02)
    clock.at += 2
    assert day(ledger) == (0.0, 0.0)
    # calls of a run that is resumed later are reserved one by one
    held(ledger, call="b#1")
    assert day(ledger) == (0.0, 0.01)
    asyncio.run(ledger.release_parts(FORK))
    assert day(ledger) == (0.0, 0.0)


def test_what_goes_beyond_the_bound_needs_room_of_its_own(opened: Any) -> None:
    ledger = opened(per_day_usd=0.03)
    fan_out(ledger, (LARGE, SMALL))
    held(ledger, usd=0.02, call="a#1")
    assert day(ledger) == (0.0, 0.02)
    held(ledger, usd=0.01, call="b#1")
    assert isinstance(call(ledger, usd=0.001, call="c#1"), Refusal)


def test_after_midnight_the_new_day_must_have_room(opened: Any, clock: Clock) -> None:
    ledger = opened(per_day_usd=0.02, per_run_usd=0.02, lease_s=LEASE_S)
    clock.at += 43_200 - 10
    fan_out(ledger, (LARGE, SMALL), (LARGE, SMALL))
    clock.at += 20
    held(ledger, usd=0.015, draw=None, run="r2")
    assert "per_day_usd" in str(call(ledger, call="a#1"))
    held(ledger, usd=0.005, call="a#1")
    assert day(ledger) == (0.0, 0.02)


def test_a_workflow_within_draws_on_its_parents_reservation_and_has_its_own_caps(opened: Any) -> None:
    parent = opened(per_day_usd=0.02)
    fan_out(parent, (LARGE, SMALL), (LARGE, SMALL))
    child = opened(per_day_usd=0.005).within(
        parent, run="r1", workflow="helpdesk", intent="reset", draw=Draw(FORK, "all")
    )
    own = {"run": "r1~c", "workflow": "kyc", "draw": None}
    assert "per_day_usd: $0.000000 of $0.005000" in str(call(child, **own))
    made = held(child, usd=0.005, **own)
    assert (day(parent), day(child, "kyc")) == ((0.0, 0.02), (0.0, 0.005))
    asyncio.run(child.settle(made, usd=0.003, tokens=1))
    assert (day(parent), day(child, "kyc")) == ((0.003, 0.015), (0.003, 0.0))
    asyncio.run(parent.release_parts(FORK))
    assert day(parent) == (0.003, 0.0)


def test_a_fork_of_a_workflow_within_is_paid_of_its_parents_reservation(opened: Any) -> None:
    parent = opened(per_day_usd=0.02)
    fan_out(parent, (LARGE, SMALL), (LARGE, SMALL))
    child = opened(per_day_usd=1).within(parent, run="r1", workflow="helpdesk", intent="reset", draw=Draw(FORK))
    own = {"run": "r1~c", "workflow": "kyc"}
    assert fan_out(child, (SMALL, SMALL), id="r1~c/f#1", **own).limited == {}
    assert (day(parent), day(child, "kyc")) == ((0.0, 0.02), (0.0, 0.002))
    held(child, usd=0.002, draw=Draw("r1~c/f#1"), **own)
    assert day(parent) == (0.0, 0.02)
    # a parent that is resumed by nobody, and its join: nothing of either is left
    asyncio.run(parent.release_parts(FORK))
    assert (day(parent), day(child, "kyc")) == ((0.0, 0.0), (0.0, 0.0))


def test_a_fork_within_that_is_repeated_takes_nothing_of_its_siblings(opened: Any) -> None:
    parent = opened(per_day_usd=0.02)
    fan_out(parent, (SMALL, SMALL), (LARGE, SMALL))
    child = opened(per_day_usd=1).within(parent, run="r1", workflow="helpdesk", intent="reset", draw=Draw(FORK))
    for _ in range(2):
        fan_out(child, (SMALL, SMALL), id="r1~c/f#1", run="r1~c", workflow="kyc")
        assert day(parent) == (0.0, 0.012)
    held(parent, usd=0.008, draw=None, run="r2")
    held(parent, usd=0.01, call="b#1")


def test_a_workflow_in_a_branch_without_room_may_not_spend_either(opened: Any) -> None:
    parent = opened(per_day_usd=1)
    draw = Draw(FORK, "small", "per_day_usd: too little")
    child = opened(per_day_usd=1).within(parent, run="r1", workflow="helpdesk", intent="reset", draw=draw)
    own = {"run": "r1~c", "workflow": "kyc"}
    assert "too little" in str(call(child, size="llm", draw=None, **own))
    made = fan_out(child, (LARGE, SMALL), id="r1~c/f#1", **own)
    assert (made.limited, made.refused) == ({"b0": "small"}, "per_day_usd: too little")


def test_a_clock_that_jumps_back_opens_no_budget(opened: Any, clock: Clock) -> None:
    ledger = opened(per_day_usd=1)
    fan_out(ledger, (LARGE, SMALL))
    clock.at -= 3600
    made = fan_out(ledger, (LARGE, SMALL), id="r1/gather#2")
    assert made.limited == {"b0": "free"}
    assert "the clock was set back" in made.refused


# --- random schedules ---


@pytest.mark.slow
async def test_random_schedules_never_overspend_break_a_grant_or_leak() -> None:
    """`benchmarks/ledger.py --schedules 10000` plays more of them."""
    found = await play(in_memory(), range(250))
    assert (found.overspent, found.broken, found.leaked) == ([], [], [])
    assert min(found.granted, found.limited, found.drawn, found.crashes) > 250


@pytest.mark.slow
async def test_random_schedules_on_a_server(postgres: str) -> None:
    made = server(postgres)
    found = await play(lambda budget, now: PostgresLedger(made, budget, now=now), range(15))
    assert (found.overspent, found.broken, found.leaked) == ([], [], [])
    same = await play(in_memory(), range(15))
    assert found == same, "both stores decide alike"


WORKER = """
import asyncio, json, sys
from pathlib import Path
from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.ledger.ledger import SqliteLedger
from sluicegate.policies.ledger.postgres import PostgresLedger
from sluicegate.services import Amount, Draw, Part, Reservation
from sluicegate.storage.postgres import server
budget, where, me = BudgetConfig(per_day_usd=0.05), sys.argv[1], sys.argv[2]
ledger = PostgresLedger(server(where), budget) if "://" in where else SqliteLedger(budget, Path(where))
async def run(number):
    who = {"run": f"{me}-{number}", "principal": "p", "intent": "i", "workflow": "helpdesk"}
    id = f"{me}-{number}/f#1"
    parts = [Part(f"b{n}", Amount(0.001, 10), Amount(0.0, 5)) for n in range(4)]
    made = await ledger.reserve_parts(id=id, **who, parts=parts)
    async def branch(part):
        draw = Draw(id, made.limited.get(part.name, "all"))
        got = await ledger.reserve(**who, model="m", usd=0.001, tokens=10, size="llm", call=part.name, draw=draw)
        assert isinstance(got, Reservation) == (draw.allowed == "all"), (draw, got)
        if isinstance(got, Reservation):
            await ledger.settle(got, usd=0.0007, tokens=7)
        return isinstance(got, Reservation)
    calls = sum(await asyncio.gather(*map(branch, parts)))
    await ledger.release_parts(id)
    return calls
async def main():
    return sum([await run(n) for n in range(int(sys.argv[3]))])
print(json.dumps(asyncio.run(main())))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def test_four_processes_that_fan_out_never_pass_the_cap(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    """Runs for twice the money there is; each call that was granted is made."""
    where = request.getfixturevalue("postgres") if kind == "postgres" else str(tmp_path / "ledger.sqlite")
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, where, f"p{n}", "9"], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        for n in range(4)
    ]
    made = sum(json.loads(worker.communicate(timeout=120)[0]) for worker in workers)
    budget = BudgetConfig(per_day_usd=0.05)
    ledger = PostgresLedger(server(where), budget) if kind == "postgres" else SqliteLedger(budget, Path(where))
    spent, left = day(ledger)
    assert spent == round(made * 0.0007, 6)
    assert left == 0.0
    assert 0.05 - 4 * 0.001 < spent <= 0.05, "no money is left lying"
    ledger.close()
