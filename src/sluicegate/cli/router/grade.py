"""`sluicegate router grade`: the small model's answers to labelled requests, each with whether it is right."""

import asyncio
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    task: Annotated[
        str, typer.Option(help="answer: the small model's answers; escalate: whether each of both models is right.")
    ] = "answer",
    as_json: AsJson = False,
) -> None:
    """Grade answers to labelled requests, to fit or evaluate confidence in answers or escalation."""
    from sluicegate.evals.evaluation.cases import read_cases
    from sluicegate.graphs.config.load import load

    if task not in ("answer", "escalate"):
        raise typer.BadParameter("must be answer or escalate", param_hint="--task")
    asked, loaded = sum(len(read_cases(path)) for path in data), load(workflow)
    if task == "escalate":
        weak, strong = (graded_answers(loaded, data, both=True, large=large) for large in (False, True))
        by_text = {each.text: each.right for each in strong}
        pairs_of = [(each.text, each.right, by_text[each.text]) for each in weak if each.text in by_text]
        rows: list[dict[str, Any]] = [
            {"prompt": text, "weak_correct": small, "strong_correct": great} for text, small, great in pairs_of
        ]
        counts = {
            "weak_right": sum(small for _, small, _ in pairs_of),
            "strong_right": sum(great for _, _, great in pairs_of),
        }
        models = {"weak": _names(weak), "strong": _names(strong)}
    else:
        graded = graded_answers(loaded, data)
        rows = [each.plain() for each in graded]
        counts, models = {"right": sum(each.right for each in graded)}, {}
    out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    left = asked - len(rows)
    result = {"file": str(out), "answers": len(rows), **counts, **models, "left_out": left}
    if models and models["weak"] == models["strong"]:
        notes().print(f"both answers are by {models['weak']}: nothing can be learned of a large model", style="yellow")
    if left:
        notes().print(f"{left} of {asked} rows have no reference, or got no answer from the small model")
    if as_json:
        emit(result)
    else:
        pairs(str(out), result)


def _names(graded: "Sequence[GradedAnswer]") -> str:
    return ", ".join(sorted({each.model for each in graded}))


def graded_answers(
    workflow: "Workflow", data: Sequence[Path], *, labelled: bool = False, both: bool = False, large: bool = False
) -> "list[GradedAnswer]":
    """`labelled` leaves out rows without a reference, such as those that only train the router; the others as for
    `grading.grade`."""
    from sluicegate.evals.evaluation import grading
    from sluicegate.evals.evaluation.cases import read_cases
    from sluicegate.home import home

    cases = [case for path in data for case in read_cases(path) if case.expects_result or not labelled]
    folder = home() / "evals" / f"grading-{hashlib.sha256(str(data).encode()).hexdigest()[:12]}"
    with progress() as line:
        task = line.add_task("grading answers", total=len(cases))
        try:
            return asyncio.run(
                grading.grade(workflow, cases, folder, both=both, large=large, on_case=lambda: line.advance(task))
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)
