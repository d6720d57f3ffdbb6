"""`sluicegate router grade` and `router fit --task answer`: how sure an answer is, learned from graded answers."""

import asyncio
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sluicegate.cli.router_view import pairs
from sluicegate.cli.show import emit, notes, progress
from sluicegate.errors import ConfigError, Problem

if TYPE_CHECKING:
    from sluicegate.evals.grading import GradedAnswer
    from sluicegate.graphs.load import Workflow
    from sluicegate.routing.answer import AnswerTarget, Graded

__all__ = ["fit_answer_files", "fit_workflow_answers", "write_graded"]


def write_graded(workflow: Path, data: Sequence[Path], out: Path, *, as_json: bool) -> None:
    """Grade the answers to labelled requests and write them to `out`, one JSON object a line."""
    graded = _graded(_loaded(workflow), data)
    out.write_text("".join(json.dumps(each.plain(), ensure_ascii=False) + "\n" for each in graded), encoding="utf-8")
    found = {"file": str(out), "answers": len(graded), "right": sum(each.right for each in graded)}
    if as_json:
        emit(found)
    else:
        pairs(str(out), found)


def fit_workflow_answers(path: Path, out: Path | None, *, needed: bool, as_json: bool) -> None:
    """Grade the workflow's own examples, fit on those of `train`, prove the threshold on those of `calibration`."""
    from sluicegate.routing.answer import AnswerTarget

    workflow = _loaded(path)
    files, router = workflow.config.examples, workflow.config.router
    folder = out or (workflow.folder / router.answers if router.answers else None)
    if folder is None:
        raise ConfigError(
            [Problem("SG106", f"{path} names no `router: {{answers: …}}`", mend="Name a folder there, or with --out")]
        )
    if files.train is None or files.calibration is None:
        raise ConfigError([Problem("SG106", f"{path} needs `examples: {{train: …, calibration: …}}` with facts")])
    train, apart = workflow.find(files.train), workflow.find(files.calibration)
    target = AnswerTarget(router.answer_target.error, router.answer_target.confidence, needed)
    rows = [_as_graded(_graded(workflow, [part], labelled=part == train)) for part in (train, apart)]
    _fit(rows[0], rows[1], target, [train, apart], folder, as_json=as_json)


def fit_answer_files(
    source: Sequence[Path], apart: Sequence[Path] | None, target: "AnswerTarget", out: Path, *, as_json: bool
) -> None:
    """Fit on files of graded answers."""
    from sluicegate.routing.answer import read_graded
    from sluicegate.routing.data import read_rows

    parts = [read_graded([row for path in paths for row in read_rows(path)]) for paths in (source, apart or ())]
    _fit(parts[0], parts[1] if apart else None, target, [*source, *(apart or ())], out, as_json=as_json)


def _fit(
    train: "Sequence[Graded]",
    apart: "Sequence[Graded] | None",
    target: "AnswerTarget",
    files: Sequence[Path],
    out: Path,
    *,
    as_json: bool,
) -> None:
    from sluicegate.routing.answer import fit_answers

    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    card = fit_answers(train, apart, target=target, digests=digests, out=out)
    found = {
        "artifact": str(out),
        "hash": card["hash"],
        **card["rows"],
        **card["metrics"],
        "threshold": card["threshold"]["value"],
        "accepted_error_bound": card["threshold"]["bound"],
    }
    if not card["threshold"]["proved"]:
        notes().print("no threshold could be proved: nothing is sure enough", style="yellow")
    if as_json:
        emit(found)
    else:
        pairs(str(out), found)


def _graded(workflow: "Workflow", data: Sequence[Path], *, labelled: bool = False) -> "list[GradedAnswer]":
    """`labelled` leaves out rows that do not say what is right, such as those that only teach the router."""
    from sluicegate.evals.cases import read_cases
    from sluicegate.evals.grading import grade
    from sluicegate.home import home

    cases = [case for path in data for case in read_cases(path) if case.expects_result or not labelled]
    folder = home() / "evals" / f"grading-{hashlib.sha256(str(data).encode()).hexdigest()[:12]}"
    with progress() as line:
        task = line.add_task("grading answers", total=len(cases))
        try:
            return asyncio.run(grade(workflow, cases, folder, on_case=lambda: line.advance(task)))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _as_graded(answers: "Sequence[GradedAnswer]") -> "list[Graded]":
    from sluicegate.routing.answer import Graded

    return [Graded(each.features, each.right, each.model) for each in answers]


def _loaded(path: Path) -> "Workflow":
    from sluicegate.graphs.load import load

    return load(path)
