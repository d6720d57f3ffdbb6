"""`sluicegate router`: fit, evaluate and explain routers; learn from corrections; detect drift."""

import asyncio
import shutil
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluicegate.cli._support.console import AsJson, emit, notes, progress
from sluicegate.cli._support.options import Since, since_ns
from sluicegate.cli._support.router_answers import fit_answer_files, fit_workflow_answers, read_for, write_graded
from sluicegate.cli._support.router_embedding import EMBEDDER, LAYERED, ROLE, embed_like, embedding, models_of, only
from sluicegate.cli._support.router_view import pairs, rows_table, write_page
from sluicegate.errors import InsufficientDataError, ModelError, nearest
from sluicegate.services import EmbeddingRequest

if TYPE_CHECKING:
    from collections.abc import Generator

    from sluicegate.graphs.config.load import Workflow
    from sluicegate.models.chain import ModelSet
    from sluicegate.routing.data import Labelled
    from sluicegate.routing.intent.fit import Embed
    from sluicegate.routing.intent.router import FittedRouter

app = typer.Typer(help="Fit, evaluate and explain routers.", no_args_is_help=True)

# `routing.calibration.calibration.METHODS`, without its numpy: help is shown at once
CALIBRATIONS = ("temperature", "vector", "sigmoid", "vector-sigmoid", "isotonic")
MOST_RECORDED = 1000
"""How many of the latest recorded requests a refit is compared on."""

Artifact = Annotated[Path, typer.Argument(help="Folder of the router artifact.")]
Data = Annotated[list[Path], typer.Option(help="Labelled rows (JSON Lines or CSV, optionally gzipped).")]


@app.callback()
def _root() -> None: ...


@app.command()
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
            help="intent: classify; escalate: predict when the large model is needed; answer: confidence in answers."
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
    as_json: AsJson = False,
) -> None:
    """Fit a router on labelled rows and write its artifact."""
    from sluicegate.extras import fitting
    from sluicegate.routing.data import joined, read_labelled
    from sluicegate.routing.intent.fit import FitSettings

    fitting("sklearn")  # missed now rather than after minutes of embedding
    if method not in ("auto", *CALIBRATIONS):
        raise typer.BadParameter(f"must be auto, {', '.join(CALIBRATIONS)}", param_hint="--method")
    if per not in (None, "all", "intent"):
        raise typer.BadParameter("must be all or intent", param_hint="--per")
    kind: Any = method
    if source[0].suffix in (".yaml", ".yml") and task == "answer":
        fit_workflow_answers(source[0], out, needed=not without_threshold, as_json=as_json)
        return
    if source[0].suffix in (".yaml", ".yml"):
        given = {
            "more than one source": len(source) > 1,
            "--calibration": calibration,
            "--oos-label": oos_label,
            "--task escalate": task == "escalate",
            "--error": error,
            "--confidence": confidence,
            "--embedder": embedder,
            "--per": per,
        }
        if wrong := [name for name, value in given.items() if value]:
            raise typer.BadParameter(
                f"{', '.join(wrong)} cannot be combined with a workflow file, which already defines them"
            )
        _fit_workflow(source[0], out, kind, need_threshold=not without_threshold, as_json=as_json)
        return
    if out is None:
        raise typer.BadParameter("is required with data files", param_hint="--out")
    if task == "escalate":
        _fit_escalation(source, out, embedder or EMBEDDER, as_json=as_json)
    elif task == "answer":
        from sluicegate.routing.answers.fit import AnswerTarget

        target = AnswerTarget(error or 0.2, confidence or 0.95, not without_threshold)
        fit_answer_files(source, calibration, target, out, embedder or EMBEDDER, as_json=as_json)
    elif task == "intent":
        train = joined([read_labelled(path) for path in source])
        apart = joined([read_labelled(path) for path in calibration]) if calibration else None
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
        _fit_and_write(train, apart, settings, models, ROLE, out, as_json=as_json)
    else:
        raise typer.BadParameter("must be intent, escalate or answer", param_hint="--task")


@app.command()
def report(
    artifact: Artifact,
    data: Data,
    html: Annotated[Path | None, typer.Option(help="Write an HTML report with plots to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate a router on rows it was not fitted on."""
    from sluicegate.routing.intent.artifact import read_card
    from sluicegate.routing.monitoring.plots import cost_quality_svg, reliability_svg

    kind = read_card(artifact)["task"]
    if kind == "answer":
        from sluicegate.routing.answers.answer import load_answers
        from sluicegate.routing.answers.report import report_answers

        found = report_answers(load_answers(artifact), read_for(artifact, data))
        svgs = [reliability_svg(found["reliability"], title="Reliability")] if html else []
    elif kind == "escalate":
        found = _report_escalation(artifact, data)
        svgs = [
            cost_quality_svg(
                found["curve"],
                weak=found["weak_accuracy"],
                strong=found["strong_accuracy"],
                reached={0.5: found["cpt50"], 0.8: found["cpt80"]},
                title=f"Cost and quality: APGR {found['apgr']:.3f} on {found['rows']:,} rows",
            )
        ]
    else:
        found = _report_intents(artifact, data)
        title = f"Reliability: ECE {found['ece']:.3f} on {found['rows']:,} rows"
        svgs = [reliability_svg(found["reliability"], threshold=found["threshold"], title=title)] if html else []
    if html:
        write_page(html, found, svgs, title=f"Router {artifact.name}")
    if as_json:
        emit(found)
        return
    pairs(str(artifact), found)
    rows_table("Per class", found.get("per_class", []))
    rows_table("Thresholds by predicted label", found.get("thresholds", []))
    rows_table("Most confused", found.get("confused", []))


@app.command()
def grade(
    workflow: Annotated[Path, typer.Argument(help="Workflow file.")],
    data: Data,
    out: Annotated[Path, typer.Option(help="Output file of graded answers (JSON Lines).")],
    as_json: AsJson = False,
) -> None:
    """Grade the small model's answers to labelled requests, to fit or evaluate confidence in answers."""
    write_graded(workflow, data, out, as_json=as_json)


@app.command()
def explain(
    text: Annotated[str, typer.Argument(help="The request.")],
    artifact: Annotated[Path, typer.Option("--router", help="Folder of the router artifact.")],
    examples: Annotated[
        list[Path] | None, typer.Option(help="Labelled rows to search for the nearest examples.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Explain the label of a request: alternatives, contributing features, nearest examples."""
    from sluicegate.routing.data import joined, read_labelled
    from sluicegate.routing.intent.explain import explain_text

    router = _loaded(artifact)
    rows = joined([read_labelled(path) for path in examples]) if examples else None
    found = asyncio.run(explain_text(router, text, rows, embed=_embed_examples(router)))
    if as_json:
        emit(found)
        return
    pairs(text, found)
    rows_table("Alternatives", found["alternatives"])
    rows_table("Contributing features", found["evidence"])
    rows_table("Nearest examples", found["nearest"])


@app.command()
def threshold(
    artifact: Artifact,
    data: Data,
    error: Annotated[
        list[float] | None, typer.Option(min=0.0001, max=0.9, help="Error rate to try (repeatable).")
    ] = None,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.9999, help="Confidence level of the error bound.")] = 0.95,
    as_json: AsJson = False,
) -> None:
    """Show threshold and coverage for other error targets, on rows the router was not fitted on."""
    from sluicegate.routing.intent.explain import targets

    router, rows = _loaded(artifact), _rows(data)
    wanted = error or [0.01, 0.02, 0.05, 0.1, 0.15, 0.2]
    with _bar(len(rows)) as told:
        found = asyncio.run(targets(router, rows, wanted, confidence, on_progress=told))
    if as_json:
        emit(found)
        return
    rows_table("Overall", found["overall"])
    rows_table(f"Per intent, at an error of {wanted[0]:.1%}", found["per_intent"])


@app.command()
def refit(
    workflow: Annotated[Path, typer.Argument(help="Workflow file.")],
    out: Annotated[Path, typer.Option(help="Output folder of the proposed artifact.")],
    since: Since = "30d",
    as_json: AsJson = False,
) -> None:
    """Fit a new artifact with people's corrections, and show what it would change. Nothing is deployed."""
    from sluicegate.home import home
    from sluicegate.observe.tracing.store import Store
    from sluicegate.routing.intent.artifact import check_place
    from sluicegate.routing.intent.learn import compare, corrections_of, with_corrections, would_change

    loaded = _workflow(workflow)
    train, apart = _examples(loaded)
    old = _serving(loaded)
    if out.resolve() == loaded.find(loaded.config.router.artifact or "").resolve():
        raise typer.BadParameter("is the artifact in use; choose another folder for the proposal", param_hint="--out")
    check_place(out)
    store = Store(home() / "store.sqlite")
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
    settings = _settings(loaded, "auto", need_threshold=True)
    models = models_of(loaded) if loaded.config.router.embeddings else None
    fitted = _fit_and_write(
        with_corrections(train, corrections), apart, settings, models, loaded.config.router.embedder, out, quiet=True
    )
    new = _loaded(out)
    found: dict[str, Any] = {
        "compared_on": compared_on,
        **asyncio.run(compare(old, new, tested)),
        "corrections": len(corrections),
        "unusable": dict(corrections.unusable),
        "recorded": asyncio.run(would_change(old, new, requests[:MOST_RECORDED])),
        "artifact": str(out),
        "hash": fitted["hash"],
    }
    if as_json:
        emit(found)
        return
    pairs(f"Proposed: {out}", found)
    rows_table("Accuracy and coverage", [{"artifact": name, **found[name]} for name in ("old", "new")])
    rows_table(f"Changes on {compared_on}", found["examples"])
    recorded = found["recorded"]
    title = f"Changes on {recorded['requests']} recorded requests"
    rows_table(
        f"{title}: {recorded['other_label']} other labels, {recorded['other_trust']} other branches",
        recorded["examples"],
    )
    notes().print(f"To deploy it, point `router.artifact` in {loaded.path} at this folder and promote that version.")


@app.command()
def drift(
    workflow: Annotated[Path, typer.Argument(help="Workflow file.")],
    since: Since = "7d",
    svg: Annotated[Path | None, typer.Option(help="Write a plot by day to this file (SVG).")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare the latest runs with earlier ones: confidence, label mix, out-of-scope rate."""
    from sluicegate.home import home
    from sluicegate.observe.tracing.store import Store
    from sluicegate.routing.monitoring.drift import by_day, window_of
    from sluicegate.routing.monitoring.drift import drift as measured
    from sluicegate.routing.monitoring.plots import drift_svg

    loaded = _workflow(workflow)
    outside = _out_of_scope(loaded)
    store = Store(home() / "store.sqlite")
    try:
        rows = store.confidences(loaded.name)
    finally:
        store.close()
    edge = since_ns(since)
    before = window_of([row for row in rows if row["started_ns"] < edge], out_of_scope=outside)
    after = window_of([row for row in rows if row["started_ns"] >= edge], out_of_scope=outside)
    found = measured(before, after)
    if svg:
        days = by_day(rows, out_of_scope=outside)
        boundary = datetime.fromtimestamp(edge / 1e9, UTC).date().isoformat()
        served = {row["threshold"] for row in rows if row["artifact"] == rows[-1]["artifact"]}
        # thresholds per intent cannot be drawn as one line
        last = served.pop() if len(served) == 1 else None
        svg.write_text(
            drift_svg(days, threshold=last, boundary=boundary, title=f"{loaded.name}, by day (UTC)"), "utf-8"
        )
    if as_json:
        emit(found.plain())
    else:
        pairs(loaded.name, found.plain())
        rows_table("Labels with the largest shift", found.moved)
    for warning in found.warnings:
        notes().print(f"warning: {warning}", style="yellow", markup=False)


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


def _fit_workflow(path: Path, out: Path | None, method: Any, *, need_threshold: bool, as_json: bool) -> None:
    loaded = _workflow(path)
    train, apart = _examples(loaded)
    named = loaded.config.router.artifact
    if out is None and named is None:
        raise typer.BadParameter("is required: the workflow names no artifact", param_hint="--out")
    settings = _settings(loaded, method, need_threshold=need_threshold)
    models = models_of(loaded) if loaded.config.router.embeddings else None
    _fit_and_write(
        train,
        apart,
        settings,
        models,
        loaded.config.router.embedder,
        out or loaded.folder / str(named),
        as_json=as_json,
    )


def _fit_and_write(
    train: "Labelled",
    apart: "Labelled | None",
    settings: Any,
    models: "ModelSet | None",
    role: str,
    out: Path,
    *,
    as_json: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    from sluicegate.routing.intent.artifact import check_place, write_artifact
    from sluicegate.routing.intent.fit import check_rows, fit_intents

    check_rows(train, oos_label=settings.oos_label)
    check_place(out)
    work = out.parent / f".{out.name}.fitting"
    with _bar(None) as told:
        embed, facts = embedding(models, role) if models else (None, None)
        try:
            fitted = asyncio.run(
                fit_intents(train, apart, settings, embed=embed, embedder=facts, work=work, on_progress=told)
            )
        except InsufficientDataError:  # refused, not interrupted: nothing to continue with
            shutil.rmtree(work, ignore_errors=True)
            raise
    digest = write_artifact(out, fitted.head, fitted.calibrator, fitted.card)
    shutil.rmtree(work, ignore_errors=True)
    found = {
        "artifact": str(out),
        "hash": digest,
        **fitted.card["rows"],
        **fitted.card["metrics"],
        "threshold": fitted.card["threshold"]["value"],
        "per": settings.per,
        "own_thresholds": len(fitted.card["threshold"]["per_intent"]["own"]) if settings.per == "intent" else 0,
        "calibration_method": fitted.calibrator.method,
    }
    if train.repeated:
        notes().print(f"{train.repeated} duplicate rows were dropped")
    if as_json:
        emit(found)
    elif not quiet:
        pairs(str(out), found)
    return found


def _fit_escalation(source: Sequence[Path], out: Path, embedder: str, *, as_json: bool) -> None:
    from sluicegate.routing.data import joined_escalations, read_escalations
    from sluicegate.routing.escalation.escalate import fit_escalation, write_escalation
    from sluicegate.routing.intent.artifact import check_place

    check_place(out)
    rows = joined_escalations([read_escalations(path) for path in source])
    with _bar(None) as told:
        embed, facts = (None, None) if embedder == "none" else embedding(only(embedder), ROLE)
        fitted = asyncio.run(fit_escalation(rows, embed=embed, embedder=facts, on_progress=told))
    digest = write_escalation(out, fitted)
    found = {"artifact": str(out), "hash": digest, **fitted.card["metrics"], "threshold": fitted.card["threshold"]}
    if as_json:
        emit(found)
    else:
        pairs(str(out), found)


def _report_intents(artifact: Path, data: Sequence[Path]) -> dict[str, Any]:
    from sluicegate.routing.monitoring.report import report_intents

    router, rows = _loaded(artifact), _rows(data)
    with _bar(len(rows)) as told:
        return asyncio.run(report_intents(router, rows, on_progress=told))


def _report_escalation(artifact: Path, data: Sequence[Path]) -> dict[str, Any]:
    from sluicegate.routing.data import joined_escalations, read_escalations
    from sluicegate.routing.escalation.escalate import load_escalation, report_escalation
    from sluicegate.routing.intent.artifact import read_card

    embedder = read_card(artifact, task="escalate")["embedder"]
    router = load_escalation(artifact, embed=embed_like(embedder) if embedder else None)
    rows = joined_escalations([read_escalations(path) for path in data])
    with _bar(len(rows)) as told:
        return asyncio.run(report_escalation(router, rows, on_progress=told))


def _rows(data: Sequence[Path]) -> "Labelled":
    from sluicegate.routing.data import joined, read_labelled

    return joined([read_labelled(path) for path in data])


def _workflow(path: Path) -> "Workflow":
    from sluicegate.graphs.config.load import load

    return load(path)


def _examples(workflow: "Workflow") -> "tuple[Labelled, Labelled | None]":
    from sluicegate.routing.data import read_labelled

    files = workflow.config.examples
    if files.train is None:
        raise InsufficientDataError(
            f"{workflow.name} names no examples to fit on",
            hint="Add `examples: {train: examples/train.jsonl}` to the workflow",
        )
    apart = read_labelled(workflow.find(files.calibration)) if files.calibration else None
    train = read_labelled(workflow.find(files.train))
    intents = workflow.config.intents
    for name, rows in ((files.train, train), (files.calibration, apart)):
        if rows is not None and (unknown := sorted(set(rows.labels) - intents.keys())):
            near = nearest(unknown[0], list(intents))
            raise ModelError(
                "SG312",
                f"{name} labels rows {', '.join(unknown[:5])}, which {workflow.name} does not have",
                hint=(f"Did you mean {near!r}? " if near else "") + f"Its intents: {', '.join(intents)}",
            )
    if missing := [name for name in intents if name not in train.labels]:
        notes().print(
            f"no examples of {', '.join(missing)}: the router can never predict these", style="yellow", markup=False
        )
    return train, apart


def _settings(workflow: "Workflow", method: Any, *, need_threshold: bool) -> Any:
    from sluicegate.routing.intent.fit import FitSettings

    target = workflow.config.router.target
    return FitSettings(
        error=target.error,
        confidence=target.confidence,
        oos_label=_out_of_scope(workflow),
        per=target.per,
        method=method,
        need_threshold=need_threshold,
    )


def _out_of_scope(workflow: "Workflow") -> str | None:
    named = workflow.config.router.out_of_scope
    tasks = workflow.config.intents.items()
    return named or next((label for label, facts in tasks if facts.task == "out-of-scope"), None)


def _serving(workflow: "Workflow") -> "FittedRouter":
    from sluicegate.routing.intent.artifact import read_artifact
    from sluicegate.routing.intent.router import FittedRouter

    config = workflow.config.router
    artifact = read_artifact(workflow.find(config.artifact or ""))
    models = models_of(workflow)
    facts = artifact.card["embedder"]

    async def embed(texts: Sequence[str]) -> Sequence[Sequence[float]]:
        return (await models.embed(EmbeddingRequest(config.embedder, texts, like=facts["fingerprint"]))).vectors

    return FittedRouter(artifact, embed=embed if facts else None, threshold=config.threshold, per=config.target.per)


def _loaded(folder: Path) -> "FittedRouter":
    from sluicegate.routing.intent.artifact import read_artifact
    from sluicegate.routing.intent.router import FittedRouter

    artifact = read_artifact(folder)
    embedder = artifact.card["embedder"]
    return FittedRouter(artifact, embed=embed_like(embedder) if embedder else None)


def _embed_examples(router: "FittedRouter") -> "Embed | None":
    embedder = router.artifact.card["embedder"]
    return embedding(only(embedder["model"]), ROLE)[0] if embedder else None


@contextmanager
def _bar(total: int | None) -> "Generator[Callable[[int, int, str], None]]":
    """A progress bar as a callback taking done, total and a description."""
    with progress() as bar:
        line = bar.add_task("reading", total=total)
        yield lambda done, all_, what: bar.update(line, completed=done, total=all_, description=what)
