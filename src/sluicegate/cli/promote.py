"""`sluicegate promote`: evaluate a challenger against its plan and promote it."""

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluicegate.cli._support.console import AsJson, console, emit

if TYPE_CHECKING:
    from sluicegate.observe.tracing.store import Store

__all__ = ["app"]

app = typer.Typer(help="Evaluate a challenger against its plan and promote it.")

_SIDES = ("champion_run", "challenger_run")
_COLOURS = {"PROMOTE": "green", "REJECT": "red", "CONTINUE": "yellow", "INCONCLUSIVE": "yellow"}


@app.command()
def promote(
    config: Annotated[Path, typer.Argument(help="Workflow file of the champion.")],
    plan: Annotated[Path, typer.Option(help="Plan that the shadow was started with.")],
    dry: Annotated[bool, typer.Option("--dry", help="Print the verdict; change nothing.")] = False,
    by: Annotated[str, typer.Option(help="Deciding user, for the audit log; by default the signed-in one.")] = "",
    note: Annotated[str, typer.Option(help="Why it is promoted, besides the verdict; for the record.")] = "",
    html: Annotated[
        Path | None,
        typer.Option(help="Write the evidence as an HTML file, with the traces of the worst runs next to it."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Judge the pairs by the plan; on PROMOTE the challenger starts to serve.

    Exits with 0 on PROMOTE, 1 on REJECT, 3 on CONTINUE and INCONCLUSIVE. May be run at any time, as often as
    wanted: the error rates account for it.
    """
    from sluicegate.evals.promotion.plan import read_plan
    from sluicegate.evals.report.verdict import as_json as said_of
    from sluicegate.evals.report.verdict import gate_rows, withheld_note
    from sluicegate.evals.report.verdict import html as html_of
    from sluicegate.evals.shadow import judging
    from sluicegate.evals.shadow.pairs import PairStore
    from sluicegate.graphs.config.load import load
    from sluicegate.observe.tracing.storing.shared import open_store

    workflow, pairs, store = load(config), PairStore(), open_store()
    judged = judging.judge(workflow, pairs.under(workflow.name, read_plan(plan)), pairs, store)
    at, decision = judged.at, judged.decision
    said = said_of(decision, at)
    if html:
        traces = _traces(html, store, [row[side] for row in decision.regressions for side in _SIDES])
        html.write_text(html_of(decision, at, traces), encoding="utf-8")
    if decision.verdict == "PROMOTE" and not dry:
        said["served"] = judging.promote(judged, pairs, by=by or getpass.getuser(), note=note)
    if as_json:
        emit(said)
    else:
        from rich.table import Table

        screen = console()
        screen.print(f"[bold {_COLOURS[decision.verdict]}]{decision.verdict}[/]")
        screen.print(decision.reason, markup=False)
        table = Table("gate", "of", "state", "champion", "challenger", "why", box=None, pad_edge=False)
        for row in gate_rows(decision):
            table.add_row(*row)
        screen.print(table)
        if decision.withheld:
            screen.print(withheld_note(decision), markup=False)
        for row in decision.regressions:
            screen.print(
                f"  {row['loss']:.2f} {', '.join([*row['events'], *row['differences']])}: champion "
                f"{row['champion_run']}, challenger {row['challenger_run'] or 'no run'}",
                style="dim",
                markup=False,
                soft_wrap=True,
            )
        if "served" in said:
            screen.print(
                f"now serving version {said['served']['version']} of {workflow.name}: {said['served']['path']}"
            )
    if decision.verdict != "PROMOTE":
        raise typer.Exit(1 if decision.verdict == "REJECT" else 3)


def _traces(beside: Path, store: "Store", runs: list[str]) -> dict[str, str]:
    """Write the runs' traces as pages into a folder next to a file, and return their relative links."""
    from sluicegate.errors import RunError
    from sluicegate.observe.views.page import page

    folder, found = beside.with_name(f"{beside.stem}-runs"), dict[str, str]()
    for run in filter(None, runs):
        try:
            row = store.run(run)
        except RunError:
            # deleted since, or run in another home
            continue
        folder.mkdir(exist_ok=True)
        name = f"{row['run_id']}.html"
        text = page(row, store.spans(run), store.decisions(run), store.scores(run))
        (folder / name).write_text(text, encoding="utf-8")
        found[run] = f"{folder.name}/{name}"
    return found
