"""kill -9 of the driver and of actors: no row is lost or stands there twice, no cent is missing in the ledger."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluicegate.batch.engines.engine import Engine, EngineName, LocalEngine
from sluicegate.batch.engines.factory import open_engine
from sluicegate.batch.run import Wanted, open_batch
from sluicegate.graphs.config.load import load
from sluicegate.policies.ledger.factory import open_ledger
from tests.support.batching import CALL, letters, rows_of, wanted, written
from tests.support.openai_server import OpenAiServer
from tests.support.processes import Started

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


@pytest.mark.slow
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
