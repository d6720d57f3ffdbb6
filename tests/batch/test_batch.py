"""A batch from beginning to end on both engines: each row once, under every cap, and again where it stopped."""

import json
from pathlib import Path
from typing import Any

import pytest

from sluicegate.batch.engines.engine import Engine, LocalEngine
from sluicegate.batch.run import open_batch, standing
from sluicegate.errors import BudgetError, NotFoundError, RunError
from sluicegate.graphs.config.load import load
from sluicegate.graphs.runtime.factory import open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.policies.ledger.factory import open_ledger
from tests.support.batching import CALL, letters, rows_of, wanted, written
from tests.support.openai_server import OpenAiServer

pytestmark = pytest.mark.slow

CLERK = principal("cleo", ["clerk"])


def bound(workflow: Path) -> int:
    """Micro-dollars that a row may need at most."""
    opened = open_workflow(workflow)
    found = opened.bounds.of_child("Dear all, letter 10.", opened.runner.services).micros
    opened.close()
    return found


class Unwell(list[dict[str, Any]]):
    """A model server that breaks off instead of answering."""

    def append(self, request: dict[str, Any]) -> None:
        raise ConnectionAbortedError


def spent(workflow: Path) -> tuple[int, int]:
    """Micro-dollars that the ledger has spent and holds for this workflow today."""
    (cap,) = [one for one in open_ledger(load(workflow).config.budget).caps("letters") if one.name == "per_day_usd"]
    return round(cap.spent * 1e6), round(cap.held * 1e6)


def test_each_row_comes_out_once(engine: Engine, server: OpenAiServer, tmp_path: Path) -> None:
    workflow = letters(tmp_path / "wf", server.url, budget="{per_day_usd: 1}")
    rows = [*({"id": f"r{n}", "text": f"Letter {n}."} for n in range(9)), {"id": "bad", "text": ""}]
    batch = open_batch(wanted(workflow, rows_of(tmp_path / "in.jsonl", rows), tmp_path / "out", block_rows=4))
    told: list[int] = []
    found = batch.run(engine, on_block=lambda _block, new: told.append(new))
    assert (found.complete, sorted(told)) == (True, [2, 4, 4])
    assert [row["id"] for row in written(tmp_path / "out")] == [f"r{n}" for n in range(9)]
    assert [(row["id"], row["code"]) for row in written(tmp_path / "out", "failed")] == [("bad", "SG601")]
    assert {(row["status"], row["usd_micros"], row["answer"]) for row in written(tmp_path / "out")} == {
        ("answered", CALL, "Of course.")
    }
    assert len(server.requests) == 9
    assert spent(workflow) == (9 * CALL, 0)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["rows"], summary["usd"], summary["failed"]) == (10, 9 * CALL / 1e6, {"SG601": 1})
    # given again, there is nothing left
    again = open_batch(wanted(workflow, tmp_path / "in.jsonl", tmp_path / "out", block_rows=4)).run(engine)
    assert (again.complete, again.new_rows, len(server.requests)) == (True, 0, 9)


def test_a_cap_holds_over_all_workers(engine: Engine, server: OpenAiServer, tmp_path: Path) -> None:
    workflow = letters(tmp_path / "wf", server.url, budget="{per_day_usd: 0.004}")
    data = rows_of(tmp_path / "in.jsonl", 40)
    with pytest.raises(BudgetError, match="rows are left"):
        open_batch(wanted(workflow, data, tmp_path / "out", block_rows=4)).run(engine)
    paid = len(server.requests) * CALL
    assert spent(workflow) == (paid, 0)
    # what is left is less than a row may need
    assert paid <= 4000 < paid + bound(workflow)


def test_the_cap_of_a_batch_is_over_all_its_resumes(server: OpenAiServer, tmp_path: Path) -> None:
    workflow, data = letters(tmp_path / "wf", server.url), rows_of(tmp_path / "in.jsonl", 12)
    for max_cost in (0.001, 0.0025):
        with pytest.raises(BudgetError, match="per_run_usd"):
            open_batch(wanted(workflow, data, tmp_path / "out", max_cost=max_cost, block_rows=5)).run(LocalEngine())
        paid = len(server.requests) * CALL
        assert 0 < paid <= max_cost * 1e6 < paid + bound(workflow)
    found = open_batch(wanted(workflow, data, tmp_path / "out", max_cost=1.0, block_rows=5)).run(LocalEngine())
    assert (found.complete, len(server.requests), found.counts.usd_micros) == (True, 12, 12 * CALL)


def test_caps_of_persons_are_held_call_by_call(server: OpenAiServer, tmp_path: Path) -> None:
    workflow = letters(tmp_path / "wf", server.url, budget="{per_principal_day_usd: 0.001, per_day_usd: 1}")
    rows = [{"id": n, "text": "Hello.", "requester": ["ann", "bob"][n % 2]} for n in range(10)]
    batch = open_batch(wanted(workflow, rows_of(tmp_path / "in.jsonl", rows), tmp_path / "out"))
    assert batch.run(LocalEngine()).complete
    assert spent(workflow) == (len(server.requests) * CALL, 0)
    assert len(server.requests) == 6
    refused = [row for row in written(tmp_path / "out") if row["status"] == "refused"]
    assert [row["stopped_by"][:5] for row in refused] == ["SG501"] * 4


async def test_rows_that_wait_come_out_when_they_are_decided(server: OpenAiServer, tmp_path: Path) -> None:
    workflow = letters(tmp_path / "wf", server.url, people=True)
    asked = wanted(workflow, rows_of(tmp_path / "in.jsonl", 3), tmp_path / "out", block_rows=2)
    opened = open_workflow(workflow)
    loop = LocalEngine()

    def run() -> None:
        open_batch(asked).run(loop)

    import asyncio

    await asyncio.to_thread(run)
    assert [(row["status"], row["answer"]) for row in written(tmp_path / "out")] == [("waiting", "")] * 3
    assert standing(str(tmp_path / "out")).counts.waiting == 3
    first = written(tmp_path / "out")[0]["run"]
    await opened.runner.decide(first, "approve", CLERK)
    await asyncio.to_thread(run)
    assert [row["status"] for row in written(tmp_path / "out")] == ["answered", "waiting", "waiting"]
    assert len(server.requests) == 3


def test_failed_rows_are_done_again_when_asked(server: OpenAiServer, tmp_path: Path) -> None:
    workflow, data = letters(tmp_path / "wf", server.url), rows_of(tmp_path / "in.jsonl", 2)
    good, server.requests = server.requests, Unwell()
    asked = wanted(workflow, data, tmp_path / "out")
    first = open_batch(asked).run(LocalEngine())
    failed = first.counts.failures
    server.requests = good
    assert open_batch(asked).run(LocalEngine()).counts.failures == failed
    found = open_batch(asked).run(LocalEngine(), retry_failed=True)
    assert failed == 2
    assert (found.counts.failures, dict(found.counts.status)) == (0, {"answered": 2})
    assert written(tmp_path / "out", "failed") == []


def test_a_folder_keeps_to_its_batch(server: OpenAiServer, tmp_path: Path) -> None:
    workflow, data = letters(tmp_path / "wf", server.url), rows_of(tmp_path / "in.jsonl", 2)
    open_batch(wanted(workflow, data, tmp_path / "out"))
    other = letters(tmp_path / "other", server.url, people=True)
    more = rows_of(tmp_path / "more.jsonl", 3)
    for asked in (
        wanted(other, data, tmp_path / "out"),
        wanted(workflow, more, tmp_path / "out"),
        wanted(workflow, data, tmp_path / "out", limit=1),
    ):
        with pytest.raises(RunError, match="SG707"):
            open_batch(asked)
    # the same bytes elsewhere are the same input
    moved = data.rename(tmp_path / "moved.jsonl")
    assert open_batch(wanted(workflow, moved, tmp_path / "out")).run(LocalEngine()).complete
    with pytest.raises(NotFoundError):
        standing(str(tmp_path / "nothing"))
