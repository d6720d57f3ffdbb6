"""`sluicegate shadow`: run a challenger in shadow mode."""

import asyncio
import time
from pathlib import Path
from typing import Annotated

import typer

from sluicegate.cli._support.console import AsJson, console, emit, progress

__all__ = ["app"]

app = typer.Typer(help="Run a challenger in shadow mode.", no_args_is_help=True)


@app.command()
def start(
    champion: Annotated[Path, typer.Argument(help="Workflow file of the champion, which serves.")],
    challenger: Annotated[Path, typer.Argument(help="Workflow file of the challenger, which extends the champion.")],
    plan: Annotated[Path, typer.Option(help="Plan: what is compared and how it is decided.")],
    labels: Annotated[
        Path | None, typer.Option(help="Labelled requests, for metrics that need a reference answer.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fix champion, challenger and plan. The champion's new runs are compared from then on."""
    from sluicegate.errors import ShadowNotFoundError
    from sluicegate.evals.evaluation.cases import read_cases
    from sluicegate.evals.promotion.plan import read_plan
    from sluicegate.evals.shadow.pairs import PairStore
    from sluicegate.evals.shadow.status import status_of
    from sluicegate.graphs.config.load import load
    from sluicegate.graphs.runtime.versions import keep, kept
    from sluicegate.home import home

    ours, theirs, fixed = load(champion), load(challenger), read_plan(plan)
    if ours.name != theirs.name:
        raise ShadowNotFoundError(
            f"the challenger is a different workflow: {theirs.name}, not {ours.name}",
            hint="A challenger keeps the champion's name: extend it, or write `workflow: " + ours.name + "`",
        )
    if ours.digest == theirs.digest:
        raise ShadowNotFoundError("champion and challenger are the same version")
    if labels:
        read_cases(labels)
    # copies of both, so that editing the files changes nothing; the champion's is kept last, as the current one
    keep(theirs)
    keep(ours)
    copy = kept(theirs.digest)
    # a copy that names its base by an absolute path is not complete
    whole = all(file.resolve().is_relative_to(home().resolve()) for file in load(copy).source.files)
    at = PairStore().start(
        ours.name,
        fixed,
        champion=(str(champion.resolve()), ours.digest),
        challenger=(str(copy if whole else challenger.resolve()), theirs.digest),
        labels=str(labels.resolve()) if labels else "",
    )
    if as_json:
        emit(status_of(at, PairStore()).plain())
        return
    screen = console()
    screen.print(f"shadow {at.number}: {at.workflow} {ours.digest[:12]} against {theirs.digest[:12]}")
    screen.print(f"plan {at.plan.plan}, fixed as {at.plan_digest[:12]}")
    screen.print(
        f"A running service shadows automatically; for other runs use: sluicegate shadow work {at.workflow} --follow",
        soft_wrap=True,
    )


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show every shadow: its pairs, those in progress, those shed and why, and today's spending."""
    from rich.table import Table

    from sluicegate.evals.promotion.gates import counted
    from sluicegate.evals.shadow.pairs import PairStore
    from sluicegate.evals.shadow.status import status_of

    pairs = PairStore()
    rows = [status_of(at, pairs) for at in pairs.all()]
    if as_json:
        emit([row.plain() for row in rows])
        return
    screen = console()
    if not rows:
        screen.print("no shadow in this home")
        return
    table = Table("number", "workflow", "plan", "state", "pairs", "shed", "today", box=None, pad_edge=False)
    for row in rows:
        shed = ", ".join(f"{reason} {count}" for reason, count in row.shed.items()) or "-"
        today = f"{counted(row.pairs_today, 'pair')}, ${row.usd_today:.4f}"
        made = f"{row.pairs} of {row.at.plan.pairs.minimum}" + (f", {row.in_work} in progress" if row.in_work else "")
        table.add_row(str(row.at.number), row.at.workflow, row.at.plan.plan, row.state, made, shed, today)
    screen.print(table)


@app.command()
def stop(
    workflow: Annotated[str, typer.Argument(help="Name of the workflow.")],
    as_json: AsJson = False,
) -> None:
    """Stop a shadow. Its pairs are kept, and `promote` can still decide on them."""
    from sluicegate.evals.promotion.gates import counted
    from sluicegate.evals.shadow.pairs import PairStore
    from sluicegate.evals.shadow.status import status_of

    pairs = PairStore()
    at = pairs.stop(workflow)
    if as_json:
        emit(status_of(at, pairs).plain())
    else:
        console().print(f"stopped shadow {at.number} of {at.workflow} after {counted(pairs.count(at.number), 'pair')}")


@app.command()
def work(
    workflow: Annotated[str, typer.Argument(help="Name of the workflow.")],
    follow: Annotated[
        bool, typer.Option("--follow", help="Keep comparing new runs until the shadow is stopped.")
    ] = False,
    limit: Annotated[int, typer.Option(min=0, help="At most this many pairs; 0 for all.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Run the challenger on the champion's finished runs, in this process at low priority."""
    import os

    from sluicegate.evals.shadow.pairs import PairStore
    from sluicegate.evals.shadow.shadow_backfill import Reached
    from sluicegate.evals.shadow.shadow_backfill import work as work_on

    pairs = PairStore()
    at = pairs.running(workflow)
    os.nice(19)
    total: dict[str, int] = {}
    reached = Reached()
    while True:
        with progress() as line:
            task = line.add_task("pairs", total=None)
            done = asyncio.run(
                work_on(at, limit=limit, on_pair=lambda _reason, task=task: line.advance(task), reached=reached)
            )
        for reason, count in done.items():
            total[reason] = total.get(reason, 0) + count
        if not follow or not pairs.is_running(at.number):
            break
        time.sleep(2.0)
    if as_json:
        emit(total)
    else:
        console().print(", ".join(f"{reason}: {count}" for reason, count in total.items()) or "nothing to compare")
