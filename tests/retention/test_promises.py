"""What DBOS has of runs on a server goes with them: at once with a person, and with what is past its retention."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from sluicegate import Service
from sluicegate.graphs.config.load import load
from sluicegate.graphs.runtime.intake import principal
from sluicegate.retention.erase import erase
from sluicegate.retention.prune import prune
from sluicegate.storage.postgres import URL
from tests.support import stand
from tests.support.waiting import soon

ANN, BEN = principal("ann", ["employee"]), principal("ben", ["employee"])
DAY_S = 86_400


@pytest.fixture
async def served(postgres: str, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    monkeypatch.setenv(URL, postgres)
    async with stand.service() as service:
        yield service


def _in_days(days: int) -> Callable[[], float]:
    """A clock that is so many days ahead."""
    return lambda: datetime.now(UTC).timestamp() + days * DAY_S


def _rows(url: str, table: str = "workflow_status") -> list[str]:
    with psycopg.connect(url) as connection:
        (schema,) = connection.execute("SELECT current_schema()").fetchone() or ("",)
        return [str(row[0]) for row in connection.execute(f'SELECT t::text FROM "{schema}_dbos".{table} AS t')]  # type: ignore[arg-type]


def _everywhere(url: str) -> str:
    """Every row of every table of DBOS."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema() || '_dbos'"
        ).fetchall()
    return "\n".join(row for (table,) in found for row in _rows(url, table))


async def _timed(url: str, runs: int) -> None:
    """Wait until so many of the runs that wait for a person have their timer."""
    await soon(lambda: sum("/deadline" in row and "DELAYED" in row for row in _rows(url)) == runs)


@pytest.mark.slow
async def test_the_rows_of_a_person_go_at_once_with_their_timers(served: Service, postgres: str) -> None:
    anns = [(await served.ask(text, ANN)).run for text in ("How?", "access please")]
    bens = [(await served.ask(text, BEN)).run for text in ("How?", "access please")]
    await _timed(postgres, 2)
    before = _everywhere(postgres)
    assert all(run in before for run in (*anns, *bens)), "the search sees what is there"

    done = await erase(ANN["id"], by="dpo")

    assert (done.removed["runs"], done.removed["stretches of runs"]) == (2, 3)
    after = _everywhere(postgres)
    assert ([run in after for run in anns], [run in after for run in bens]) == ([False, False], [True, True])
    assert "stretches of runs" not in (await erase(ANN["id"], by="dpo")).removed
    assert (await served.ask("And now?", ANN)).status == "answered", "the service goes on"


@pytest.mark.slow
async def test_the_rows_of_old_runs_go_and_those_of_what_waits_stay(served: Service, postgres: str) -> None:
    ended, waits = [(await served.ask(text, ANN)).run for text in ("How?", "access please")]
    await _timed(postgres, 1)
    config = load(stand.WORKFLOW / "workflow.yaml").config
    days = config.retention.runs_days

    assert prune(config, now=_in_days(days - 1)).stretches == 0
    other = config.model_copy(update={"workflow": config.workflow[:-1]})
    assert prune(other, now=_in_days(days + 1)).stretches == 0
    found = prune(config, now=_in_days(days + 1))

    # what has led to the interrupt is over too; the timer is not
    assert (found.runs, found.stretches) == (1, 2)
    (timer,) = _rows(postgres)
    assert (ended in _everywhere(postgres), f"{waits}@" in timer, "/deadline" in timer) == (False, True, True)


async def test_a_server_that_carried_no_run_has_nothing_to_delete(
    postgres: str, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL, postgres)
    assert prune(load(stand.WORKFLOW / "workflow.yaml").config).stretches == 0
    assert "stretches of runs" not in (await erase(ANN["id"], by="dpo")).removed
