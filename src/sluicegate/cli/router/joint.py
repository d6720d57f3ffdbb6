"""The thresholds of all stages together: fitted on a workflow's graded requests, and what they promise."""

import asyncio
import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluicegate.cli._support.console import console, emit, progress
from sluicegate.cli.router.tables import pairs, rows_table
from sluicegate.errors import ConfigError, Problem

if TYPE_CHECKING:
    from sluicegate.evals.joint.recording import Recorded
    from sluicegate.graphs.config.load import Workflow

__all__ = ["fit_workflow_joint", "show_joint"]


def fit_workflow_joint(path: Path, out: Path | None, *, as_json: bool) -> None:
    """Run the workflow's `examples.calibration` every way that they can take, choose, prove, write the artifact.

    The runs stay in the home, so that an interrupted fit continues, and one for another bound asks no model.
    """
    from sluicegate.evals.joint.fit import fit_joint
    from sluicegate.graphs.config.load import load
    from sluicegate.learning.artifact import check_place

    workflow = load(path)
    joint, named = workflow.config.router.joint, workflow.config.examples.calibration
    if joint is None or named is None:
        lacking = "router: {joint: {artifact: …, error: …}}" if joint is None else "examples: {calibration: …}"
        raise ConfigError([Problem("SG106", f"{path} names no `{lacking}`", hint="Name it in the workflow")])
    folder = out or workflow.folder / joint.artifact
    check_place(folder)
    card = fit_joint(workflow, _recorded(workflow, workflow.find(named)), folder, data=workflow.find(named))
    if as_json:
        emit(card)
    else:
        _show(card)


def show_joint(card: Mapping[str, Any], *, as_json: bool) -> None:
    """What the thresholds promise, and what that rests on."""
    from sluicegate.routing.joint.thresholds import sentence

    if as_json:
        emit({"sentence": sentence(card), **{key: value for key, value in card.items() if key != "scores"}})
    else:
        _show(card)


def _show(card: Mapping[str, Any]) -> None:
    from sluicegate.routing.joint.thresholds import sentence

    console().print(sentence(card), markup=False, highlight=False)
    kept, before = card["proof"]["kept"], card["stagewise"]["kept"]
    pairs("On the same requests", {"answered without the large model": kept, "with stage-wise thresholds": before})
    pairs("Thresholds", card["thresholds"])
    rows_table("Tested, in order", [{**each["thresholds"], **each["proof"]} for each in card["tested"]])


def _recorded(workflow: "Workflow", data: Path) -> "list[Recorded]":
    from sluicegate.evals.evaluation.cases import read_cases
    from sluicegate.evals.joint.recording import Recorded, read_recorded, record, under
    from sluicegate.home import home, private_folder

    kept = private_folder(home() / "evals") / f"joint-{under(workflow)[:16]}.jsonl"
    cases = {case.id: case for case in read_cases(data) if case.expects_result}
    done = [row for row in read_recorded(kept) if row.case in cases]
    known = {row.case for row in done}
    left = [case for name, case in cases.items() if name not in known]
    isolated = home() / "evals" / f"recording-{hashlib.sha256(str(data).encode()).hexdigest()[:12]}"
    with progress() as line, kept.open("a", encoding="utf-8") as file:
        task = line.add_task("running requests", total=len(cases), completed=len(done))

        def write(row: Recorded) -> None:
            file.write(row.line())
            file.flush()
            done.append(row)
            line.advance(task)

        try:
            asyncio.run(record(workflow, left, isolated, on_row=write))
        finally:
            shutil.rmtree(isolated, ignore_errors=True)
    return done
