"""`sluicegate router grade`: the small model's answers to labelled requests, each with whether it is right."""

import asyncio
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluicegate.cli._support.console import AsJson, emit, notes, progress
from sluicegate.cli.router.options import Data
from sluicegate.cli.router.tables import pairs

if TYPE_CHECKING:
    from sluicegate.evals.evaluation.grading import GradedAnswer
    from sluicegate.graphs.config.load import Workflow

__all__ = ["grade", "graded_answers"]


def grade(
    workflow: Annotated[Path, typer.Argument(help="Workflow file.")],
    data: Data,
    out: Annotated[Path, typer.Option(help="Output file of graded answers (JSON Lines).")],
    as_json: AsJson = False,
) -> None:
    """Grade the small model's answers to labelled requests, to fit or evaluate confidence in answers."""
    from sluicegate.evals.evaluation.cases import read_cases
    from sluicegate.graphs.config.load import load

    asked = sum(len(read_cases(path)) for path in data)
    graded = graded_answers(load(workflow), data)
    out.write_text("".join(json.dumps(each.plain(), ensure_ascii=False) + "\n" for each in graded), encoding="utf-8")
    left = asked - len(graded)
    result = {"file": str(out), "answers": len(graded), "right": sum(each.right for each in graded), "left_out": left}
    if left:
        notes().print(f"{left} of {asked} rows have no reference, or got no answer from the small model")
    if as_json:
        emit(result)
    else:
        pairs(str(out), result)


def graded_answers(workflow: "Workflow", data: Sequence[Path], *, labelled: bool = False) -> "list[GradedAnswer]":
    """`labelled` leaves out rows without a reference, such as those that only train the router."""
    from sluicegate.evals.evaluation import grading
    from sluicegate.evals.evaluation.cases import read_cases
    from sluicegate.home import home

    cases = [case for path in data for case in read_cases(path) if case.expects_result or not labelled]
    folder = home() / "evals" / f"grading-{hashlib.sha256(str(data).encode()).hexdigest()[:12]}"
    with progress() as line:
        task = line.add_task("grading answers", total=len(cases))
        try:
            return asyncio.run(grading.grade(workflow, cases, folder, on_case=lambda: line.advance(task)))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
