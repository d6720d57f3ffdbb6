"""What a run leaves in files, counted in commits and bytes."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sluicegate.graphs.runtime.intake import principal
from sluicegate.observe.tracing import recorder
from tests.support import stand

ANN = principal("ann", ["employee"])
RUNS = 40
BYTES = {"checkpoints.sqlite": 6_500, "store.sqlite": 5_000}
"""The most that a run of seven nodes may add to each file."""


def folded(file: Path) -> int:
    """Its size with the write-ahead log folded in."""
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return file.stat().st_size


@pytest.mark.slow
async def test_a_run_is_a_commit_per_step_and_two_of_its_trace(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the thread that commits nodes while a slow run goes on stays away
    monkeypatch.setattr(recorder, "_PAUSE_S", 3600)
    async with stand.service() as desk:
        await desk.ask("How?", ANN)
        runner: Any = desk.versions.serving.runner
        commits: dict[str, int] = dict.fromkeys((*BYTES, "serving.sqlite"), 0)
        for file, connection in (
            ("checkpoints.sqlite", runner.graph.checkpointer._database._connection),
            ("store.sqlite", runner.tracer._recorder._store._connection),
            ("serving.sqlite", desk.executor.recovery._database._connection),  # type: ignore[attr-defined]
        ):
            connection.set_trace_callback(
                lambda sql, file=file: commits.update({file: commits[file] + (sql == "COMMIT")})
            )
        before = {file: folded(own_home / file) for file in BYTES}
        for number in range(RUNS):
            outcome = await desk.ask(f"How {number}?", ANN)
        grown = {file: (folded(own_home / file) - size) / RUNS for file, size in before.items()}
    steps = len(outcome.state["trail"])
    # the state that the first node begins with is written when the run is accepted, which is noted until it has ended
    assert commits == {"checkpoints.sqlite": RUNS * (steps + 1), "store.sqlite": RUNS * 2, "serving.sqlite": RUNS * 2}
    assert grown["checkpoints.sqlite"] < BYTES["checkpoints.sqlite"]
    assert grown["store.sqlite"] < BYTES["store.sqlite"]
