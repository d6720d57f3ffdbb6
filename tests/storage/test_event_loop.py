"""With PostgreSQL, no call of the database is waited for on the event loop: runs of others go on meanwhile."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from sluicegate.errors import RunError
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.session.session import Session
from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.ledger.postgres import PostgresLedger
from sluicegate.storage.postgres import URL, Server, configured
from tests.support import stand
from tests.support.redacting import ANN, EVE, LEA, LEADS, OWN, Desk
from tests.support.waiting import soon

LEAD = principal("lea", ["helpdesk-lead"])


@pytest.fixture
def shared(postgres: str, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv(URL, postgres)
    found = configured()
    assert found
    return found


class Calls(NamedTuple):
    """What was waited for, by where."""

    blocked: list[str]
    elsewhere: list[str]


@pytest.fixture
def never_on_the_loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    """Fails what waits for a server on a thread that runs an event loop."""
    blocked, elsewhere = calls = Calls([], [])

    def guarded(name: str, real: Any) -> Any:
        def call(*given: Any, **options: Any) -> Any:
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                elsewhere.append(name)
                return real(*given, **options)
            blocked.append(name)
            raise AssertionError(f"{name} waits for the server on the event loop")

        return call

    monkeypatch.setattr(psycopg.Connection, "wait", guarded("wait", psycopg.Connection.wait))
    monkeypatch.setattr(psycopg, "connect", guarded("connect", psycopg.connect))
    yield calls
    assert blocked == []


@pytest.mark.slow
async def test_the_guard_of_these_tests_bites(shared: Server, never_on_the_loop: Calls) -> None:
    await shared.call(shared.version)
    with pytest.raises(AssertionError, match="on the event loop"):
        shared.version()
    assert never_on_the_loop.blocked
    never_on_the_loop.blocked.clear()


@pytest.mark.slow
async def test_a_whole_run_with_a_redaction_and_a_decision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: Server, never_on_the_loop: Calls
) -> None:
    desk = Desk(tmp_path / "desk", monkeypatch)
    desk.policies(LEADS)
    desk.router.label = "risky"
    desk.says("We wrote to <EMAIL_1>.")
    opened = await asyncio.to_thread(desk.opened)
    runner, before = opened.runner, len(never_on_the_loop.elsewhere)
    asked = await runner.run(f"Write to {OWN}", ANN, run="r")
    assert asked.waiting
    assert OWN in (await runner.evidence(asked.waiting, LEA))["request"]
    assert (await runner.resume("r")).waiting
    with pytest.raises(RunError):
        await runner.expire("r")
    ended = await runner.decide("r", "approve", LEA)
    assert (ended.status, await runner.shown(ended, ANN)) == ("answered", f"We wrote to {OWN}.")
    assert await runner.shown(ended, EVE) == "We wrote to <EMAIL_1>."
    assert len(never_on_the_loop.elsewhere) > before + 20, "the server was asked"
    opened.tracer.close()


@pytest.mark.slow
async def test_a_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: Server, never_on_the_loop: Calls
) -> None:
    del shared
    desk = Desk(tmp_path / "desk", monkeypatch)
    desk.router.label = "risky"
    desk.says("We answer.")
    session = await asyncio.to_thread(Session.start, desk.file, "How?", as_="ann")
    await session.astep()
    await session.arun()
    await session.aapprove(as_="lea", role="lead")
    await session.arun()
    assert await asyncio.to_thread(lambda: session.status) == "answered"
    assert never_on_the_loop.elsewhere


@pytest.mark.slow
async def test_a_service(shared: Server, never_on_the_loop: Calls) -> None:
    async with stand.service() as service:
        answered = await service.ask("How?", ANN, request_id="one")
        assert (await service.ask("How?", ANN, request_id="one")).text == answered.text
        waits = await service.ask("access to it", ANN, request_id="two")
        found, _ = await service.find(waits.run, ANN)
        assert found
        (listed,) = await service.approvals(LEAD)
        assert (await service.approval(waits.run, LEAD))["draft"] == listed["draft"]
        assert (await service.decide(waits.run, "approve", LEAD)).status == "answered"
    assert never_on_the_loop.elsewhere


async def test_the_loop_turns_while_the_server_makes_it_wait(shared: Server) -> None:
    turned = threading.Event()

    def slowly() -> bool:
        with shared.connection() as connection:
            connection.execute("SELECT 1")
            return turned.wait(100)

    waiting = asyncio.create_task(shared.call(slowly))
    await asyncio.sleep(0)
    turned.set()
    assert await waiting


async def test_what_was_begun_is_done_when_its_caller_is_cancelled(shared: Server) -> None:
    begun, released, done = threading.Event(), threading.Event(), list[int]()

    def slowly() -> None:
        with shared.connection() as connection:
            begun.set()
            released.wait()
            connection.execute("SELECT 1")
        done.append(1)

    task = asyncio.create_task(shared.call(slowly))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    released.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [1]


async def test_a_reservation_whose_caller_is_cancelled_is_given_back(shared: Server) -> None:
    ledger = await shared.call(PostgresLedger, shared, BudgetConfig(per_day_usd=1))
    with shared.connection() as other, other.transaction():
        other.execute("SELECT pg_advisory_xact_lock(hashtext('sluicegate-ledger'))")
        task = asyncio.create_task(
            ledger.reserve(run="r", principal="p", intent="i", workflow="w", model="m", usd=0.5, tokens=1)
        )
        queued = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        await soon(lambda: other.execute(queued).fetchone(), "it does not wait for the lock")
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (day,) = await shared.call(ledger.caps, "w")
    assert (day.spent, day.held) == (0.0, 0.0)
