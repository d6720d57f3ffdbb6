"""kill -9 of the driver and of actors: no row is lost or stands there twice, no cent is missing in the ledger, and no
cap is passed, whoever else spends before the batch is resumed."""

import asyncio
import itertools
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sluicegate.batch.engines.engine import Engine, EngineName, LocalEngine
from sluicegate.batch.engines.factory import open_engine
from sluicegate.batch.run import Wanted, open_batch
from sluicegate.errors import BudgetError
from sluicegate.graphs.config.load import load
from sluicegate.policies.ledger.blocks import BlockAccount
from sluicegate.policies.ledger.factory import open_ledger
from sluicegate.policies.ledger.ledger import SqliteLedger
from sluicegate.services import Reservation
from tests.support.batching import CALL, letters, rows_of, wanted, written
from tests.support.openai_server import OpenAiServer
from tests.support.processes import Started

pytestmark = pytest.mark.slow

ROWS = 14
"""In blocks of 4."""


class Requests(list[dict[str, Any]]):
    """What a model server was asked; `at` some of them something happens before they are answered."""

    def __init__(self, at: set[int], happens: Callable[[], None]) -> None:
        super().__init__()
        self._at, self._happens = at, happens

    def append(self, request: dict[str, Any]) -> None:
        super().append(request)
        if len(self) in self._at:
            self._happens()


def drive(asked: Wanted, engine: EngineName) -> None:
    opened = open_engine(engine, workers=1)
    open_batch(asked).run(opened)
    opened.close()


def whole(asked: Wanted, server: OpenAiServer, *, kills: int, at_once: int) -> None:
    """Each row came out once; what was asked again is what was under way; every request is in the ledger."""
    assert [row["id"] for row in written(Path(asked.out))] == [f"r{n}" for n in range(ROWS)]
    assert {row["status"] for row in written(Path(asked.out))} == {"answered"}
    assert ROWS <= len(server.requests) <= ROWS + kills * at_once
    assert asked.workflow
    (cap,) = open_ledger(load(asked.workflow).config.budget).caps("letters")
    assert len(server.requests) * CALL <= round(cap.spent * 1e6) <= len(server.requests) * 2 * CALL
    assert cap.held == 0


@pytest.mark.parametrize("at", [{1}, {2, 7, 11}, {14}], ids=str)
def test_a_killed_driver(server: OpenAiServer, tmp_path: Path, own_home: Path, at: set[int]) -> None:
    workflow = letters(tmp_path / "wf", server.url, budget="{per_day_usd: 1}")
    asked = wanted(workflow, rows_of(tmp_path / "in.jsonl", ROWS), tmp_path / "out", block_rows=4, concurrency=2)
    drivers: list[Started] = []
    server.requests = Requests(at, lambda: os.kill(drivers[-1].process.pid or 0, signal.SIGKILL))
    for _ in at:
        drivers.append(Started(tmp_path / "process", {**os.environ}, drive, asked, "local"))
        assert drivers[-1].process.join() is None
        assert drivers[-1].process.exitcode == -signal.SIGKILL
    assert open_batch(asked).run(LocalEngine()).complete
    whole(asked, server, kills=len(at), at_once=2)


class Killed(BaseException):
    """Ends a worker where it is."""


def others_spend_all(workflow: Path) -> int:
    """Whoever comes after the lease of what was killed is given all the room that there is; in micro-dollars."""
    budget = load(workflow).config.budget
    ledger = SqliteLedger(budget, now=lambda: datetime.now(UTC).timestamp() + budget.lease_s + 1)
    left = next(round(cap.left, 6) for cap in ledger.caps("letters") if cap.name == "per_day_usd")
    who: dict[str, Any] = {"run": "other", "principal": "bob", "intent": "letter", "workflow": "letters"}
    made = asyncio.run(ledger.reserve(**who, model="m", usd=left, tokens=1))
    assert isinstance(made, Reservation)
    asyncio.run(ledger.settle(made, usd=left, tokens=1))
    ledger.close()
    return round(left * 1e6)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_at_each_booking_passes_no_cap(
    server: OpenAiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """Killed before or after each transaction of a block in turn, until there is none left to be killed at."""
    workflow = letters(tmp_path / "wf", server.url, budget="{per_day_usd: 0.006, lease_s: 60}")
    data = rows_of(tmp_path / "in.jsonl", 5)
    number = 0
    for number in itertools.count(1):
        monkeypatch.setenv("SLUICEGATE_HOME", str(tmp_path / f"home-{number}"))
        asked, left, server.requests = wanted(workflow, data, tmp_path / f"out-{number}", block_rows=3), [number], []
        with monkeypatch.context() as patched:
            for name in ("_take_over", "_reserve", "_settle", "_release"):
                patched.setattr(BlockAccount, name, dies_at(getattr(BlockAccount, name), left, after=after))
            try:
                assert open_batch(asked).run(LocalEngine()).complete
            except Killed:
                pass
            else:
                break
        others = others_spend_all(workflow)
        with suppress(BudgetError):
            open_batch(asked).run(LocalEngine())
        assert len(server.requests) * CALL + others <= spent_of_the_day(workflow) <= 6000
    # of two blocks: reserved, settled and released; and the settling at the end of one that has nothing left
    assert number > 6


def dies_at(transaction: Callable[..., Any], left: list[int], *, after: bool) -> Callable[..., Any]:
    def dying(*given: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and not after:
            raise Killed
        found = transaction(*given)
        if left[0] == 0:
            raise Killed
        return found

    return dying


def spent_of_the_day(workflow: Path) -> int:
    ledger = open_ledger(load(workflow).config.budget)
    (cap,) = (one for one in ledger.caps("letters") if one.name == "per_day_usd")
    assert cap.held == 0
    ledger.close()
    return round(cap.spent * 1e6)


def test_a_batch_that_nobody_goes_on_with_is_settled(server: OpenAiServer, tmp_path: Path, own_home: Path) -> None:
    workflow = letters(tmp_path / "wf", server.url, budget="{per_day_usd: 1}")
    asked = wanted(workflow, rows_of(tmp_path / "in.jsonl", 6), tmp_path / "out", block_rows=3)
    started = list[Started]()
    server.requests = Requests({4}, lambda: os.kill(started[-1].process.pid or 0, signal.SIGKILL))
    started.append(Started(tmp_path / "process", {**os.environ}, drive, asked, "local"))
    started[-1].process.join()
    found = open_batch(asked).settle()
    assert (found.done, found.blocks, len(server.requests)) == (1, 2, 4)
    assert spent_of_the_day(workflow) >= 4 * CALL


@pytest.mark.parametrize("at", [{1}, {5, 9}], ids=str)
def test_a_killed_actor(server: OpenAiServer, tmp_path: Path, ray_engine: Engine, at: set[int]) -> None:
    workflow = letters(tmp_path / "wf", server.url, budget="{per_day_usd: 1}")
    asked = wanted(workflow, rows_of(tmp_path / "in.jsonl", ROWS), tmp_path / "out", block_rows=4)
    server.requests = Requests(at, lambda: os.kill(actors()[0], signal.SIGKILL))
    assert open_batch(asked).run(ray_engine).complete
    whole(asked, server, kills=len(at), at_once=2)


def actors() -> list[int]:
    """The processes of actors that this process has started by Ray."""
    found: list[int] = []
    for folder in Path("/proc").iterdir():
        try:
            name = (folder / "cmdline").read_bytes()
            parents = folder.name.isdecimal() and name.startswith(b"ray::_Actor") and _ancestors(int(folder.name))
        except OSError:
            continue
        if parents and os.getpid() in parents:
            found.append(int(folder.name))
    return sorted(found)


def _ancestors(process: int) -> list[int]:
    found: list[int] = []
    while process > 1:
        process = int((Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[1])
        found.append(process)
    return found
