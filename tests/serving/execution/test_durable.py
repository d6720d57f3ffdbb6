"""Processes that share a server: what one leaves another ends, and nobody takes what it cannot run."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sluicegate import Limits, Service
from sluicegate.graphs.runtime.intake import principal
from sluicegate.observe.tracing.storing.shared import open_store
from sluicegate.storage.postgres import URL
from tests.serving.execution.conftest import Carriers, calls
from tests.support import stand
from tests.support.waiting import soon

pytestmark = pytest.mark.slow

ANN, LEAD = principal("ann", ["employee"]), principal("lea", ["helpdesk-lead"])


@pytest.fixture(autouse=True)
def url(postgres: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv(URL, postgres)
    monkeypatch.setenv("SLUICEGATE_HOME", str(tmp_path / "server"))
    return postgres


def only_accepts() -> Service:
    return stand.service(work=False, limits=Limits(drain_s=0))


def rows(url: str, what: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        (schema,) = connection.execute("SELECT current_schema()").fetchone() or ("",)
        return connection.execute(what.format(f'"{schema}_dbos".workflow_status')).fetchall()  # type: ignore[arg-type]


async def test_what_a_killed_worker_left_is_ended_by_another(worker: Carriers, tmp_path: Path) -> None:
    first = worker("first")
    async with only_accepts() as service:
        held = await service.accept("hold on", ANN)
        await soon(lambda: calls(tmp_path))
        second = worker("second")
        first.send_signal(signal.SIGKILL)
        await soon(lambda: len(calls(tmp_path)) == 2)
        (tmp_path / "go").touch()
        outcome = await held.outcome()
    assert outcome.status == "answered"
    assert calls(tmp_path) == [str(first.pid), str(second.pid)], "the call in flight is made again, and no other"
    assert all(entry["visit"] == 1 for entry in outcome.state["trail"])


async def test_a_worker_that_is_stopped_lets_its_run_finish_and_takes_no_other(
    worker: Carriers, tmp_path: Path
) -> None:
    process = worker("first")
    async with only_accepts() as service:
        held = await service.accept("hold on", ANN)
        await soon(lambda: calls(tmp_path))
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.5)
        other = await service.accept("How?", ANN)
        (tmp_path / "go").touch()
        assert (await held.outcome()).status == "answered"
        assert await asyncio.to_thread(process.wait) == 0
        assert len(calls(tmp_path)) == 1
        worker("second")
        assert (await other.outcome()).status == "answered"


async def test_rows_have_ids_and_no_words(worker: Carriers, url: str, tmp_path: Path) -> None:
    worker("first")
    async with only_accepts() as service:
        waits = await service.ask("access for the marmalade project", ANN)
        await service.decide(waits.run, "edit", LEAD, text="Ask the tangerine team.")
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT table_schema, table_name FROM information_schema.tables"
            " WHERE table_schema = current_schema() || '_dbos'"
        ).fetchall()
        assert tables
        for schema, table in tables:
            held = connection.execute(f'SELECT t::text FROM "{schema}"."{table}" AS t').fetchall()  # type: ignore[arg-type]
            assert not [row for (row,) in held if "marmalade" in row or "tangerine" in row or "ann" in row], table


async def test_a_worker_with_other_packages_takes_nothing(
    worker: Carriers, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    worker("first")
    from sluicegate.serving.execution import durable

    monkeypatch.setattr(durable, "queue_of", lambda workflow: f"{workflow.name}+other")
    async with only_accepts() as service:
        await service.accept("How?", ANN)
        await asyncio.sleep(1.5)
        assert rows(url, "SELECT status FROM {} WHERE name = 'carry'") == [("ENQUEUED",)]
    assert calls(tmp_path) == []


async def test_of_three_workers_one_carries_a_deadline(
    worker: Carriers, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also where one of them was stopped when it came, and goes on later."""
    monkeypatch.setenv("PATIENCE", "2")
    workers = [worker(name) for name in ("first", "second", "third")]
    async with only_accepts() as service:
        waits = [await service.ask(f"access please, {number}", ANN) for number in range(6)]
        assert all(one.waiting for one in waits)
        workers[0].send_signal(signal.SIGSTOP)
        for one in waits:
            while (await service.find(one.run, ANN))[0].status != "refused":  # type: ignore[union-attr]
                await asyncio.sleep(0.02)
        workers[0].send_signal(signal.SIGCONT)
        # what it had begun before it was stopped
        await asyncio.sleep(1)
    assert rows(url, "SELECT DISTINCT count(*) FROM {} WHERE name = 'expire' GROUP BY workflow_uuid") == [(1,)]
    for process in workers:
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait) == 0
    store = open_store()
    for one in waits:
        told = [each["node"] for each in store.decisions(one.run)]
        assert told == ["classify", "gate", "act", "approve"]
    store.close()
