"""An evaluation by an engine finds what one process finds, row by row."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sluicegate.batch.engines.engine import Engine
from sluicegate.batch.evaluation import EvaluationWork, evaluate_by
from sluicegate.cli import app
from sluicegate.evals.evaluation.baselines import opened_variant
from sluicegate.evals.evaluation.cases import read_cases
from sluicegate.evals.evaluation.evaluate import evaluate
from sluicegate.evals.evaluation.result_store import ResultStore, Row
from tests.support.batching import letters, rows_of
from tests.support.openai_server import OpenAiServer

pytestmark = pytest.mark.slow


def lasting(row: Row) -> Row:
    """Without the run's id and what a clock says."""
    metrics = {name: value for name, value in row.metrics.items() if "seconds" not in name}
    return replace(row, run="", metrics=metrics)


def test_rows_are_those_of_one_process(engine: Engine, server: OpenAiServer, tmp_path: Path) -> None:
    workflow = letters(tmp_path / "wf", server.url)
    rows = [{"text": f"Letter {n}.", "answer": "Of course." if n % 2 else "Never."} for n in range(11)]
    cases = read_cases(rows_of(tmp_path / "cases.jsonl", rows))
    opened = opened_variant(workflow, tmp_path / "alone")
    alone = asyncio.run(evaluate(opened.runner, cases, under=""))
    opened.close()
    kept, told = ResultStore(), list[Row]()
    work = EvaluationWork(workflow, "workflow")
    found = evaluate_by(engine, work, cases, under="a", kept=kept, on_row=told.append)
    assert [lasting(row) for row in found] == [lasting(row) for row in alone]
    assert sum(row.metrics["correct"] for row in found) == 5
    # known rows are not run again
    before = len(server.requests)
    assert evaluate_by(engine, work, cases, under="a", kept=kept, on_row=told.append) == found
    assert (len(server.requests), len(told)) == (before, 22)
    kept.close()


def test_the_command_scores_by_actors(ray_engine: Engine, server: OpenAiServer, tmp_path: Path) -> None:
    """On the Ray that runs already, which it leaves running."""
    workflow = letters(tmp_path / "wf", server.url)
    rows = [{"text": f"Letter {n}.", "answer": "Of course." if n % 2 else "Never."} for n in range(4)]
    command = ["eval", str(workflow), str(rows_of(tmp_path / "cases.jsonl", rows)), "--json", "--no-langfuse"]
    here, there = (CliRunner().invoke(app, [*command, "--fresh", *engine]) for engine in ([], ["--engine", "ray"]))
    assert (here.exit_code, there.exit_code) == (0, 0), there.output
    found = [json.loads(each.stdout)["rows"]["workflow"] for each in (here, there)]
    assert [[row["metrics"]["correct"] for row in rows] for rows in found] == [[0.0, 1.0, 0.0, 1.0]] * 2
    assert len(server.requests) == 8
