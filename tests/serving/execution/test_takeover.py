"""What a server of the last release, or of one in between, has left on the database is carried once to its end."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sluicegate import Service
from sluicegate.errors import RunError
from sluicegate.graphs.runtime.intake import principal
from sluicegate.retention.erase import erase
from sluicegate.serving.execution.engine import DbosEngine
from sluicegate.storage.database import PostgresDatabase
from sluicegate.storage.migrations import Schema
from sluicegate.storage.postgres import URL, Server, configured
from sluicegate.storage.schemas import LEFT_RUNS, RECOVERED
from tests.support import stand
from tests.support.waiting import soon

pytestmark = pytest.mark.slow

ANN = principal("ann", ["employee"])
WRITTEN = Path(__file__).parents[2] / "storage" / "v010" / "server.sql"


@pytest.fixture
def old(postgres: str, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that version 0.1.0 has set up, with one run at work of which nothing was written down."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        for statement in WRITTEN.read_text(encoding="utf-8").split(";\n\n"):
            connection.execute(statement)  # type: ignore[arg-type]
    monkeypatch.setenv(URL, postgres)
    found = configured()
    assert found
    yield found
    found.close()


async def _cut_short(run: str) -> str:
    """A run of the served workflow whose process is gone; its version."""
    opened = stand.version(stand.WORKFLOW / "workflow.yaml")
    models: Any = opened.runner.services.models
    task = asyncio.create_task(opened.runner.run("hold on", ANN, run=run))
    await soon(lambda: models.at_once)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    opened.close()
    return opened.workflow.digest


async def _left(old: Server) -> None:
    """Leave one run as 0.1.0 did, one as servers between it and this one did, and rows of what is of no use here."""
    digest = await _cut_short("one")
    await _cut_short("two")
    accepted = PostgresDatabase(old, Schema(RECOVERED.name, RECOVERED.steps[:3]))
    with accepted.writing() as execute:
        execute("INSERT INTO accepted VALUES ('two', 'shadow-evaluation', ?, 'service-gone')", (digest,))
    with old.connection() as connection:
        for run, channel in (("one", "api"), ("never-written", "api"), ("two", "cli"), ("by-hand", "cli")):
            row = (run, "shadow-evaluation", digest, channel)
            connection.execute("INSERT INTO stretches VALUES (%s, %s, %s, %s)", row)


def _rows(old: Server) -> list[tuple[str, str]]:
    with PostgresDatabase(old, LEFT_RUNS).reading() as execute:
        return [(row["run"], row["channel"]) for row in execute("SELECT run, channel FROM left_runs ORDER BY run")]


async def _ended(service: Service, run: str) -> None:
    status = ""
    while status != "answered":
        found, _ = await service.find(run, ANN)
        status = found.status if found else ""
        await asyncio.sleep(0.02)


def _asked(service: Service) -> int:
    models: Any = service.versions.serving.runner.services.models
    return len(models.asked)


def _promises(old: Server) -> list[str]:
    with old.connection() as connection:
        schema = connection.execute("SELECT current_schema() AS name").fetchone()["name"]
        found = connection.execute(f'SELECT workflow_uuid AS row FROM "{schema}_dbos".workflow_status ORDER BY 1')
        return [row["row"] for row in found.fetchall()]


async def test_what_old_servers_left_is_carried_once_by_whoever_comes_first(old: Server) -> None:
    await _left(old)
    stand.let_go()
    async with stand.service() as first, stand.service() as second:
        for run in ("one", "two"):
            await _ended(first, run)
        assert _asked(first) + _asked(second) == 2, "each once"
        assert _promises(old) == ["shadow-evaluation:one", "shadow-evaluation:two"]
        assert first.executor.recovered == {"shadow-evaluation": 2}
    # what was no request of a service, or another workflow's, is nobody's to take over here
    assert _rows(old) == [("by-hand", "cli"), ("cut-short", "api")]


async def test_one_that_ends_while_it_takes_over_leaves_all_to_the_next_which_finds_what_is_promised(
    old: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _left(old)
    whole = DbosEngine.adopt

    def ended(engine: DbosEngine, row: str, *given: Any) -> bool:
        if row.endswith(":two"):
            raise RunError("SG625", "the process ends here, and its transaction with it")
        return whole(engine, row, *given)

    stand.let_go()
    service = stand.service()
    with monkeypatch.context() as patch:
        patch.setattr(DbosEngine, "adopt", ended)
        with pytest.raises(RunError, match="ends here"):
            await service.open()
    await service.close()
    assert (_promises(old), len(_rows(old))) == (["shadow-evaluation:one"], 5)
    async with stand.service() as after:
        for run in ("one", "two"):
            await _ended(after, run)
        assert _asked(after) == 2
        assert _promises(old) == ["shadow-evaluation:one", "shadow-evaluation:two"]
    assert len(_rows(old)) == 2


async def test_an_old_process_is_refused_and_one_that_runs_is_told_why(old: Server) -> None:
    await _left(old)
    running = PostgresDatabase(old, Schema(LEFT_RUNS.name, LEFT_RUNS.steps[:1]))
    async with stand.service():
        pass
    for schema, steps in ((LEFT_RUNS, 1), (RECOVERED, 3)):
        with pytest.raises(RunError, match="was set up by a newer version") as refused:
            PostgresDatabase(old, Schema(schema.name, schema.steps[:steps]))
        assert refused.value.code == "SG612"
    with pytest.raises(RunError, match="UndefinedTable") as told, running.writing() as execute:
        execute("DELETE FROM stretches WHERE run = 'x'")
    assert told.value.code == "SG625"
    assert "Upgrade sluicegate" in (told.value.hint or "")


async def test_a_person_is_erased_from_what_was_left(old: Server) -> None:
    await _left(old)
    assert (await erase(ANN["id"], by="dpo")).removed["accepted requests"] == 2
    assert _rows(old) == [("by-hand", "cli"), ("cut-short", "api"), ("never-written", "api")]
