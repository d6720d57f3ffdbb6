"""An evaluation by an engine: each worker has the variant open, isolated in a folder of its own, and scores some rows
at a time. The rows are those that one process finds."""

import asyncio
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sluicegate.batch.engines.engine import Engine, Worker
from sluicegate.evals.evaluation.baselines import Variant, opened_variant
from sluicegate.evals.evaluation.cases import Case
from sluicegate.evals.evaluation.evaluate import evaluate
from sluicegate.evals.evaluation.judge import admit
from sluicegate.evals.evaluation.result_store import ResultStore, Row
from sluicegate.graphs.config.load import load
from sluicegate.home import home, private_folder

__all__ = ["EvaluationWork", "evaluate_by"]

_AT_A_TIME = 8
"""Rows that a worker is given."""


@dataclass(frozen=True, slots=True)
class EvaluationWork:
    """What a worker is told; it crosses processes."""

    workflow: Path
    variant: Variant
    judge: str = ""
    """Role of the judge; it was admitted."""
    concurrency: int = 1

    def open(self) -> Worker[Sequence[Case], list[Row]]:
        return _Evaluator(self)


class _Evaluator:
    def __init__(self, work: EvaluationWork) -> None:
        self._work = work
        self._folder = private_folder(home() / "evals") / f"{work.variant}-{os.getpid()}"
        self._opened = opened_variant(load(work.workflow), self._folder, work.variant)
        self._loop = asyncio.Runner()
        config = self._opened.workflow.config
        asking = work.judge and admit(config.models[work.judge], self._opened.models, work.judge)
        self._judge = self._loop.run(asking) if asking else None

    def __call__(self, item: Sequence[Case]) -> list[Row]:
        judge, concurrency = self._judge, self._work.concurrency
        return self._loop.run(evaluate(self._opened.runner, item, under="", judge=judge, concurrency=concurrency))

    def close(self) -> None:
        self._opened.tracer.hand_over()
        self._opened.close()
        self._loop.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def evaluate_by(
    engine: Engine,
    work: EvaluationWork,
    cases: Sequence[Case],
    *,
    under: str,
    kept: ResultStore,
    on_row: Callable[[Row], None],
) -> list[Row]:
    """As `evaluate`: the rows in the order of the cases, known ones from `kept`, which each new one goes to."""
    # a worker may have another working directory
    work = replace(work, workflow=work.workflow.absolute())
    rows = {case.id: row for case in cases if (row := kept.row(under, case.id))}
    for row in rows.values():
        on_row(row)
    new = [case for case in cases if case.id not in rows]
    for found in engine.map(work, [new[at : at + _AT_A_TIME] for at in range(0, len(new), _AT_A_TIME)]):
        for row in found:
            kept.keep(under, row)
            rows[row.case] = row
            on_row(row)
    return [rows[case.id] for case in cases]
