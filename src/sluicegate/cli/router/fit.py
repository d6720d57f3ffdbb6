"""`sluicegate router fit`: an artifact from a workflow's examples, or from labelled rows."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sluicegate.cli._support.console import AsJson, emit
from sluicegate.cli.router.answers import fit_answer_files, fit_workflow_answers
from sluicegate.cli.router.embedders import EMBEDDER, LAYERED, ROLE, models_of, only
from sluicegate.cli.router.escalation import fit_escalation_files, fit_workflow_escalation
from sluicegate.cli.router.intents import examples_of, fit_artifact, labelled, settings_of
from sluicegate.cli.router.joint import fit_workflow_joint
from sluicegate.cli.router.tables import pairs

__all__ = ["CALIBRATIONS", "fit"]

# `routing.calibration.calibration.METHODS`, without its numpy: help is shown at once
CALIBRATIONS = ("temperature", "vector", "sigmoid", "vector-sigmoid", "isotonic")


def fit(
    source: Annotated[
        list[Path], typer.Argument(help="Workflow file, or labelled rows (JSON Lines or CSV, optionally gzipped).")
    ],
    out: Annotated[Path | None, typer.Option(help="Output folder of the artifact; a workflow names its own.")] = None,
    calibration: Annotated[
        list[Path] | None,
        typer.Option(help="Rows for calibration and threshold; by default a part of the data is held out."),
    ] = None,
    oos_label: Annotated[str | None, typer.Option(help="Label that stands for out of scope.")] = None,
    task: Annotated[
        str,
        typer.Option(
            help="intent: classify; escalate: predict when the large model is needed; answer: confidence in answers; "
            "joint: all thresholds of a workflow together, under its `router.joint.error`."
        ),
    ] = "intent",
    error: Annotated[
        float | None,
        typer.Option(min=0.0001, max=0.9, help="Maximum error rate of accepted requests; 0.1 for data files."),
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option(min=0.5, max=0.9999, help="Confidence level of the error bound; 0.95 for data files."),
    ] = None,
    per: Annotated[
        str | None, typer.Option(help="Scope of the error bound: all accepted requests together, or each intent.")
    ] = None,
    method: Annotated[
        str, typer.Option(help=f"Calibration: {', '.join(CALIBRATIONS)}; auto picks by cross-validation.")
    ] = "auto",
    embedder: Annotated[
        str | None, typer.Option(help=f"Embedding model ({LAYERED}), or none for words and characters only.")
    ] = None,
    without_threshold: Annotated[
        bool,
        typer.Option("--without-threshold", help="If no threshold can be proved, write a router that accepts nothing."),
    ] = False,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="With --task answer and a workflow: provider:model to answer in place of its own (repeatable)."
        ),
    ] = None,
    style: Annotated[
        list[str] | None,
        typer.Option(help="With --task answer and a workflow: write or quote, in place of its own style (repeatable)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fit a router on labelled rows and write its artifact."""
    from sluicegate.extras import fitting
    from sluicegate.routing.intent.fit import FitSettings

    fitting("sklearn")  # missed now rather than after minutes of embedding
    if method not in ("auto", *CALIBRATIONS):
        raise typer.BadParameter(f"must be auto, {', '.join(CALIBRATIONS)}", param_hint="--method")
    if per not in (None, "all", "intent"):
        raise typer.BadParameter("must be all or intent", param_hint="--per")
    if style and not set(style) <= {"write", "quote"}:
        raise typer.BadParameter("must be write or quote", param_hint="--style")
    kind: Any = method
    if source[0].suffix in (".yaml", ".yml") and task == "answer":
        styles: list[Any] = style or []
        fit_workflow_answers(
            source[0], out, models=model or (), styles=styles, needed=not without_threshold, as_json=as_json
        )
        return
    if model or style:
        raise typer.BadParameter("need --task answer and a workflow", param_hint="--model, --style")
    if source[0].suffix in (".yaml", ".yml"):
        defined_by_workflow = {
            "more than one source": len(source) > 1,
            "--calibration": calibration,
            "--oos-label": oos_label,
            "--error": error,
            "--confidence": confidence,
            "--embedder": embedder,
            "--per": per,
        }
        if wrong := [name for name, value in defined_by_workflow.items() if value]:
            raise typer.BadParameter(
                f"{', '.join(wrong)} cannot be combined with a workflow file, which already defines them"
            )
        if task == "joint":
            fit_workflow_joint(source[0], out, as_json=as_json)
            return
        if task == "escalate":
            fit_workflow_escalation(source[0], out, as_json=as_json)
            return
        _fit_workflow(source[0], out, kind, need_threshold=not without_threshold, as_json=as_json)
        return
    if out is None:
        raise typer.BadParameter("is required with data files", param_hint="--out")
    if task == "escalate":
        fit_escalation_files(source, out, embedder, as_json=as_json)
    elif task == "answer":
        from sluicegate.routing.answers.fit import AnswerTarget

        target = AnswerTarget(error or 0.2, confidence or 0.95, not without_threshold)
        fit_answer_files(source, calibration, target, out, embedder or EMBEDDER, as_json=as_json)
    elif task == "intent":
        train = labelled(source)
        apart = labelled(calibration) if calibration else None
        settings = FitSettings(
            error=0.1 if error is None else error,
            confidence=0.95 if confidence is None else confidence,
            oos_label=oos_label,
            per="intent" if per == "intent" else "all",
            method=kind,
            need_threshold=not without_threshold,
        )
        name = embedder or LAYERED
        models = None if name == "none" else only(name)
        _show(fit_artifact(train, apart, settings, models, ROLE, out), as_json=as_json)
    else:
        raise typer.BadParameter("must be intent, escalate or answer; joint needs a workflow", param_hint="--task")


def _fit_workflow(path: Path, out: Path | None, method: Any, *, need_threshold: bool, as_json: bool) -> None:
    from sluicegate.graphs.config.load import load

    workflow = load(path)
    train, apart = examples_of(workflow)
    router = workflow.config.router
    if out is None and router.artifact is None:
        raise typer.BadParameter("is required: the workflow names no artifact", param_hint="--out")
    settings = settings_of(workflow, method, need_threshold=need_threshold)
    models = models_of(workflow) if router.embeddings else None
    folder = out or workflow.folder / str(router.artifact)
    _show(fit_artifact(train, apart, settings, models, router.embedder, folder), as_json=as_json)


def _show(fitted: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit(fitted)
    else:
        pairs(fitted["artifact"], fitted)
