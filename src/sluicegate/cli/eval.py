"""`sluicegate eval`: score a workflow on a labelled file."""

import asyncio
import os
import secrets
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluicegate.cli._support.batch import OverBudget, before_it_starts
from sluicegate.cli._support.console import AsJson, console, emit, notes, progress
from sluicegate.cli._support.engines import Actors, EngineOption, engine_named

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from sluicegate.batch.engines.engine import Engine
    from sluicegate.evals.evaluation.baselines import Variant
    from sluicegate.evals.evaluation.cases import Case
    from sluicegate.evals.evaluation.judge import Judge
    from sluicegate.evals.evaluation.result_store import Row
    from sluicegate.evals.evaluation.summary import FigureThreshold
    from sluicegate.evals.report.report import Report
    from sluicegate.graphs.runtime.factory import Opened

__all__ = ["app", "send"]

_MOST = 10
"""How many slices, and how many incorrect rows, the screen shows."""

app = typer.Typer(help="Score a workflow on a labelled file.")


@app.command()
def evaluate(
    config: Annotated[Path, typer.Argument(help="The workflow's file.")],
    data: Annotated[Path, typer.Argument(help="Labelled requests (JSON Lines).")],
    baselines: Annotated[
        bool,
        typer.Option("--baselines", help="Also run the all-slm and all-llm baselines, to show what routing saves."),
    ] = False,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Concurrent runs; use 1 for embedded models.")] = 1,
    limit: Annotated[int, typer.Option(min=0, help="Only the first N rows; 0 for all.")] = 0,
    threshold: Annotated[
        list[str] | None, typer.Option(help="Required metric, such as correct>=0.8 (repeatable).")
    ] = None,
    judge: Annotated[str, typer.Option(help="Role of the LLM judge; used only if its probe passes.")] = "",
    fresh: Annotated[bool, typer.Option("--fresh", help="Ignore cached results and rerun every row.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the report as one HTML file.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML for CI.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write a comment for a pull request.")] = None,
    langfuse: Annotated[
        bool | None,
        typer.Option(
            "--langfuse/--no-langfuse",
            help="Send the results to Langfuse as a dataset experiment; default when keys are set.",
        ),
    ] = None,
    over_budget: OverBudget = False,
    engine: EngineOption = "local",
    actors: Actors = 0,
    as_json: AsJson = False,
) -> None:
    """Score a workflow. Exits with 1 when a threshold is missed, or when every run failed."""
    from sluicegate.evals.evaluation.summary import parse_threshold
    from sluicegate.evals.report.markdown import markdown as markdown_of
    from sluicegate.evals.report.report import html as html_of
    from sluicegate.evals.report.report import junit as junit_of

    wanted = [parse_threshold(text) for text in threshold or []]
    if langfuse:
        from sluicegate.observe.exporters.experiments import ready_to_send

        ready_to_send()  # rather than fail after everything has been run
    workers = engine_named(engine, actors) if engine != "local" else None
    try:
        report, cases = asyncio.run(
            _run(
                config,
                data,
                wanted,
                baselines=baselines,
                concurrency=concurrency,
                limit=limit,
                judge=judge,
                fresh=fresh,
                over_budget=over_budget,
                workers=workers,
            )
        )
    finally:
        if workers:
            workers.close()
    if html:
        html.write_text(html_of(report), encoding="utf-8")
    if junit:
        junit.write_text(junit_of(report), encoding="utf-8")
    if markdown:
        markdown.write_text(markdown_of(report), encoding="utf-8")
    sent = _sent(report, cases, langfuse)
    failed = report.failed_thresholds()
    if as_json:
        emit(_json(report, failed, sent))
    else:
        _print(report, failed, sent)
    if failed or report.nothing_ran:
        raise typer.Exit(1)


async def _run(
    config: Path,
    data: Path,
    thresholds: "list[FigureThreshold]",
    *,
    baselines: bool,
    concurrency: int,
    limit: int,
    judge: str,
    fresh: bool,
    over_budget: bool,
    workers: "Engine | None" = None,
) -> "tuple[Report, list[Case]]":
    from sluicegate.batch.evaluation import EvaluationWork, evaluate_by
    from sluicegate.evals.evaluation.baselines import VARIANTS, baselines_of, opened_variant
    from sluicegate.evals.evaluation.cases import data_hash, read_cases
    from sluicegate.evals.evaluation.evaluate import conditions, evaluate
    from sluicegate.evals.evaluation.judge import admit
    from sluicegate.evals.evaluation.result_store import ResultStore
    from sluicegate.evals.evaluation.summary import as_json, summarise
    from sluicegate.evals.report.report import Report
    from sluicegate.graphs.config.load import load
    from sluicegate.home import home

    cases = read_cases(data)[: limit or None]
    workflow, kept = load(config), ResultStore()
    rows: dict[str, list[Row]] = {}
    before = None
    whole = data_hash(cases)
    _clear(home() / "evals")
    ready: list[tuple[Variant, Path, Opened, Judge | None, str]] = []
    for variant in VARIANTS:
        if variant != "workflow" and not (baselines and variant in baselines_of(workflow)):
            continue
        # a folder per process: two evaluations at once do not share checkpoints
        folder = home() / "evals" / f"{variant}-{os.getpid()}"
        opened = opened_variant(workflow, folder, variant)
        judging = await admit(workflow.config.models[judge], opened.models, judge) if judge else None
        under = conditions(opened.runner, variant, judge=judging)
        ready.append((variant, folder, opened, judging, under))
        new = [case.text for case in cases if fresh or kept.row(under, case.id) is None]
        # each has a ledger of its own, under the workflow's caps
        cap = workflow.config.budget.per_day_usd
        before_it_starts(opened, new, left=cap, of=f"a day of {variant}", over=over_budget)
    for variant, folder, opened, judging, under in ready:
        with progress() as line:
            task = line.add_task(variant, total=len(cases))
            try:
                # not by the process's number: in a container it may be the same each time
                here = under + (f"-{secrets.token_hex(4)}" if fresh else "")

                def on_row(_row: "Row", line: "Progress" = line, task: "TaskID" = task) -> None:
                    line.advance(task)

                if workers:
                    work = EvaluationWork(workflow.path, variant, judge if judging else "", concurrency)
                    rows[variant] = evaluate_by(workers, work, cases, under=here, kept=kept, on_row=on_row)
                else:
                    rows[variant] = await evaluate(
                        opened.runner,
                        cases,
                        under=here,
                        kept=kept,
                        judge=judging,
                        concurrency=concurrency,
                        on_row=on_row,
                    )
            finally:
                opened.tracer.hand_over()
                shutil.rmtree(folder, ignore_errors=True)
        if variant == "workflow":
            before = kept.last(workflow.name, variant, (case.id for case in cases), other_than=under)
        if not all(row.error for row in rows[variant]):
            figures = as_json(summarise(rows[variant]))["all"]
            kept.evaluated(workflow.name, variant, whole, workflow.digest, under, figures, rows[variant])
    kept.close()
    return Report(workflow.name, workflow.version, workflow.digest, str(data), whole, rows, thresholds, before), cases


def _clear(folder: Path) -> None:
    """Remove the folders of killed evaluations: they hold checkpoints, with texts, that nothing resumes."""
    for left in folder.glob("*-*/"):
        pid = left.name.rpartition("-")[2]
        if not pid.isdecimal() or int(pid) == os.getpid():
            continue
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            shutil.rmtree(left, ignore_errors=True)
        except OSError:
            pass  # another user's, and alive


def _sent(report: "Report", cases: "list[Case]", wanted: bool | None) -> dict[str, Any] | None:
    """Sent when asked for, or when keys are set; in the latter case an unreachable server costs only a warning."""
    from sluicegate.errors import RunError
    from sluicegate.observe.exporters.langfuse import Keys

    if wanted is False or (wanted is None and (Keys.configured() is None or report.nothing_ran)):
        return None
    try:
        return send(report, cases)
    except RunError as error:
        if wanted:
            raise
        notes().print(f"not sent: {error}", style="yellow", markup=False)
        return None


def send(report: "Report", cases: "list[Case]") -> dict[str, Any]:
    """The evaluation as an experiment on a dataset named by workflow and file, without the answers that those who read
    traces there may not read."""
    from sluicegate.errors import NotFoundError
    from sluicegate.graphs.session.reading_rights import ReadingRights
    from sluicegate.observe.exporters.experiments import Evaluated, send_experiment
    from sluicegate.observe.tracing.store import Store

    rows, store = {row.case: row for row in report.own}, Store()
    withheld = ReadingRights().abroad(store)

    def answer(row: "Row") -> str:
        try:
            return "" if withheld(store.trace(row.run)) else row.answer
        except NotFoundError:  # its trace was pruned, so nobody can tell what it rests on
            return ""

    items = [
        Evaluated(
            id=case.id,
            input=case.text,
            expected=case.expected,
            output={"status": rows[case.id].status, "path": rows[case.id].path, "answer": answer(rows[case.id])},
            scores=dict(rows[case.id].metrics),
            run=rows[case.id].run,
            seconds=rows[case.id].metrics.get("seconds", 0.0),
            usd=rows[case.id].metrics.get("usd", 0.0),
            model=rows[case.id].model,
        )
        for case in cases
    ]
    sent = send_experiment(
        f"{report.workflow}/{Path(report.data).stem}",
        f"{report.workflow} {report.version} {report.digest[:12]}",
        items,
        metadata={"digest": report.digest, "data": report.data_hash},
    )
    return {"url": sent.url, "items": sent.items}


def _json(report: "Report", failed: "list[FigureThreshold]", sent: dict[str, Any] | None) -> dict[str, Any]:
    from sluicegate.evals.evaluation.summary import as_json, summarise
    from sluicegate.evals.report.report import notes_of

    return {
        "workflow": report.workflow,
        "version": report.version,
        "digest": report.digest,
        "data": {"file": report.data, "hash": report.data_hash, "rows": len(report.own)},
        "variants": {variant: as_json(summarise(rows)) for variant, rows in report.rows.items()},
        "before": report.before and {key: report.before[key] for key in ("digest", "at", "shared")},
        "changes": {name: asdict(change) for name, change in report.changes().items()},
        "thresholds": [{"threshold": str(t), "held": t not in failed} for t in report.thresholds],
        "notes": notes_of(report),
        "rows": {variant: [asdict(row) for row in rows] for variant, rows in report.rows.items()},
        "langfuse": sent,
    }


def _print(report: "Report", failed: "list[FigureThreshold]", sent: dict[str, Any] | None) -> None:
    from rich.table import Table

    from sluicegate.evals.evaluation.summary import FIGURES, summarise
    from sluicegate.evals.report.report import (
        BASELINE_HEAD,
        SLICE_HEAD,
        baseline_rows,
        before_note,
        estimate,
        notes_of,
        shown,
        slice_rows,
        wrong_rows,
    )

    screen, figures, changes = console(), summarise(report.own)["all"], report.changes()
    screen.print(f"[bold]{report.workflow} {report.version}[/bold] on {report.data}, {len(report.own)} rows")
    head = ("figure", "value (95 % CI)", "rows", *(["before"] if changes else []), "")
    table = Table(*head, box=None, pad_edge=False)
    for name, found in figures.items():
        before = [shown(name, changes[name].before) if name in changes else ""] if changes else []
        table.add_row(name, estimate(name, found), str(found.n), *before, FIGURES[name].title, style=None)
    screen.print(table)
    if changes:
        screen.print(f"previous: {before_note(report)}", style="dim", markup=False)
    if len(report.rows) > 1:
        title = "Savings and cost of routing"
        # a variant to a column: three intervals stand side by side in a terminal, seven do not
        columns = [BASELINE_HEAD, *baseline_rows(report)]
        lines = Table(*(column[0] for column in columns), box=None, pad_edge=False, title=title, title_justify="left")
        for row in zip(*(column[1:] for column in columns), strict=True):
            lines.add_row(*row)
        screen.print(lines)
    if slices := slice_rows(report):
        parts = Table(*SLICE_HEAD, box=None, pad_edge=False)
        for row in slices[:_MOST]:
            parts.add_row(*row)
        screen.print(parts)
        if len(slices) > _MOST:
            screen.print(f"and {len(slices) - _MOST} more slices; --html FILE shows all, with intervals")
    wrong = wrong_rows(report)
    if wrong:
        screen.print("[bold]Incorrect[/bold] (details: sluicegate trace show RUN)")
    for row in wrong[:_MOST]:
        came = f"{row.status}, {row.intent or 'no intent'}, {row.path}"
        screen.print(f"  {row.run or row.error}  {came}  {row.text[:80]}", markup=False, soft_wrap=True)
    if len(wrong) > _MOST:
        screen.print(f"  and {len(wrong) - _MOST} more; see --html FILE or --json")
    for note in notes_of(report):
        screen.print(note, style="dim", markup=False)
    for threshold in report.thresholds:
        missed = threshold in failed
        screen.print(f"{'✗' if missed else '✓'} {threshold}", style="red" if missed else "green", markup=False)
    if sent:
        screen.print(f"Langfuse: {sent['items']} items {sent['url']}", markup=False)
