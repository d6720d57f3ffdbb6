"""`sluicegate router refit`: a new artifact with people's corrections, compared with the one in use."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluicegate.cli._support.console import AsJson, emit, notes
from sluicegate.cli._support.options import Since, since_ns
from sluicegate.cli.router.embedders import models_of
from sluicegate.cli.router.escalation import refit_escalation
from sluicegate.cli.router.intents import examples_of, fit_artifact, fitted_router, serving_router, settings_of
from sluicegate.cli.router.tables import pairs, rows_table
from sluicegate.errors import InsufficientDataError

if TYPE_CHECKING:
    from sluicegate.graphs.config.load import Workflow
    from sluicegate.routing.data import Labelled

__all__ = ["refit"]

MOST_RECORDED = 1000
"""How many of the latest recorded requests a refit is compared on."""


def refit(
    workflow: Annotated[Path, typer.Argument(help="Workflow file.")],
    out: Annotated[Path, typer.Option(help="Output folder of the proposed artifact.")],
    since: Since = "30d",
    task: Annotated[
        str, typer.Option(help="intent: from corrected intents; escalate: from what needed the large model.")
    ] = "intent",
    as_json: AsJson = False,
) -> None:
    """Fit a new artifact with people's corrections, and show what it would change. Nothing is deployed."""
    from sluicegate.graphs.config.load import load
    from sluicegate.learning.artifact import check_place
    from sluicegate.observe.tracing.storing.shared import open_store
    from sluicegate.routing.intent.learn import compare, corrections_of, with_corrections, would_change

    loaded = load(workflow)
    router = loaded.config.router
    in_use = {"intent": router.artifact, "escalate": router.escalation}
    if task not in in_use:
        raise typer.BadParameter("must be intent or escalate", param_hint="--task")
    if out.resolve() == loaded.find(in_use[task] or "").resolve():
        raise typer.BadParameter("is the artifact in use; choose another folder for the proposal", param_hint="--out")
    if task == "escalate":
        _refit_escalation(loaded, out, since, as_json=as_json)
        return
    train, apart = examples_of(loaded)
    old = serving_router(loaded)
    check_place(out)
    store = open_store()
    try:
        edge = since_ns(since)
        rows, requests = store.corrections(loaded.name, since_ns=edge), store.requests(loaded.name, since_ns=edge)
    finally:
        store.close()
    corrections = corrections_of(rows, labels=set(old.labels))
    if not len(corrections):
        left = "".join(f"; {count} left out: {why}" for why, count in corrections.unusable.items())
        raise InsufficientDataError(
            f"no usable corrections for {loaded.name} since {since}{left}",
            hint="Corrections are `correct_intent` scores given by approvers and users",
        )
    tested, compared_on = _held_apart(loaded, corrections)
    settings = settings_of(loaded, "auto", need_threshold=True)
    models = models_of(loaded) if router.embeddings else None
    fitted = fit_artifact(with_corrections(train, corrections), apart, settings, models, router.embedder, out)
    new = fitted_router(out)
    result: dict[str, Any] = {
        "compared_on": compared_on,
        **asyncio.run(compare(old, new, tested)),
        "corrections": len(corrections),
        "unusable": dict(corrections.unusable),
        "recorded": asyncio.run(would_change(old, new, requests[:MOST_RECORDED])),
        "artifact": str(out),
        "hash": fitted["hash"],
    }
    if as_json:
        emit(result)
        return
    pairs(f"Proposed: {out}", result)
    rows_table("Accuracy and coverage", [{"artifact": name, **result[name]} for name in ("old", "new")])
    rows_table(f"Changes on {compared_on}", result["examples"])
    recorded = result["recorded"]
    title = f"Changes on {recorded['requests']} recorded requests"
    rows_table(
        f"{title}: {recorded['other_label']} other labels, {recorded['other_trust']} other branches",
        recorded["examples"],
    )
    _how_to_deploy("artifact", loaded)


def _refit_escalation(workflow: "Workflow", out: Path, since: str, *, as_json: bool) -> None:
    from sluicegate.observe.tracing.storing.shared import open_store

    store = open_store()
    try:
        verdicts = store.escalation_verdicts(workflow.name, since_ns=since_ns(since))
    finally:
        store.close()
    result = refit_escalation(workflow, verdicts, out, since)
    if as_json:
        emit(result)
        return
    pairs(f"Proposed: {out}", result)
    _how_to_deploy("escalation", workflow)


def _how_to_deploy(key: str, workflow: "Workflow") -> None:
    notes().print(f"To deploy it, point `router.{key}` in {workflow.path} at this folder and promote that version.")


def _held_apart(workflow: "Workflow", corrections: Any) -> "tuple[Labelled, str]":
    """The rows on which old and new are compared, and their name. Raises `ModelError` SG313 without any."""
    from sluicegate.routing.data import read_labelled
    from sluicegate.routing.intent.learn import unseen

    files = workflow.config.examples
    for name, file in (("examples.eval", files.eval), ("examples.calibration", files.calibration)):
        if file and len(rows := unseen(read_labelled(workflow.find(file)), corrections)):
            return rows, name
    raise InsufficientDataError(
        f"{workflow.name} has no held-out rows to compare the old and the new router on",
        hint="Add `examples: {eval: examples/eval.jsonl}` with rows that no router is fitted on",
    )
