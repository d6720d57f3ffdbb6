"""`sluicegate replay`: recorded requests on another version, and what would have changed."""

import asyncio
import statistics
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sluicegate.cli._support.console import AsJson, console, emit, progress
from sluicegate.errors import NotFoundError

if TYPE_CHECKING:
    from sluicegate.graphs.runtime.factory import Opened
    from sluicegate.graphs.session.replay import ReplayChange

__all__ = ["app"]

app = typer.Typer(help="Replay recorded requests on another version.")


class Documents(StrEnum):
    """Which passages a replay retrieves."""

    same = "same"
    fresh = "fresh"


@app.command()
def replay(
    config: Annotated[Path, typer.Option("--with", help="Workflow file to replay on.")],
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Run ids or `last`; omit with --since.")
    ] = None,
    documents: Annotated[Documents, typer.Option(help="Use the recorded passages, or search again.")] = Documents.same,
    since: Annotated[str, typer.Option(help="All runs of the workflow since then: 12h, 7d or an ISO time.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="With --since: at most this many, newest first.")] = 50,
    asker: Annotated[str, typer.Option("--as", help="Only runs that policy lets this user see; by default all.")] = "",
    role: Annotated[list[str] | None, typer.Option(help="Role of that user (repeatable).")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Group of that user (repeatable).")] = None,
    clearance: Annotated[
        Literal["public", "internal", "confidential", "restricted"], typer.Option(help="Clearance of that user.")
    ] = "internal",
    as_json: AsJson = False,
) -> None:
    """Replay recorded requests on another version and print what would have changed.

    The only outside effect is model calls: tools with effects are simulated, and the runs are marked as shadow
    runs. The recorded runs are not changed.
    """
    from sluicegate.graphs.runtime.intake import principal
    from sluicegate.graphs.session.replay import open_for_replay
    from sluicegate.graphs.session.replay import replay as replay_runs
    from sluicegate.state import NOBODY

    if not runs and not since:
        raise typer.BadParameter("give run ids, or --since", param_hint="RUN")
    opened = open_for_replay(config)
    chosen = _chosen(opened, runs or [], since, limit, asker, role or [])
    reader = principal(asker or NOBODY, role, group, clearance)
    with progress() as line:
        task = line.add_task("runs", total=len(chosen))
        work = replay_runs(chosen, opened, documents=documents.value, reader=reader, tell=lambda _: line.advance(task))
        changes = asyncio.run(work)
    opened.tracer.hand_over()
    if as_json:
        emit({"changes": [change.as_json() for change in changes], "summary": _summary(changes)})
    else:
        _print(changes, opened)


def _chosen(opened: "Opened", runs: Sequence[str], since: str, limit: int, asker: str, role: list[str]) -> list[str]:
    """Run ids, oldest first. Raises `RunError` SG603, and SG610 for a named run that the user may not see."""
    from sluicegate.cli._support.options import since_ns
    from sluicegate.graphs.runtime.intake import principal
    from sluicegate.graphs.session.checkpoint_reader import recorded
    from sluicegate.observe.tracing.masking import Masking
    from sluicegate.observe.tracing.reading.filters import RunFilter
    from sluicegate.observe.tracing.storing.shared import open_store
    from sluicegate.observe.views.access import may_see, must_see

    store, masking = open_store(), Masking(opened.workflow.config.tracing)
    person, policy = principal(asker, role), opened.runner.services.policy
    found = [store.runs(limit=1)[0]["run_id"] if run == "last" and store.runs(limit=1) else run for run in runs]
    for run in found:
        row = {"run_id": run, "user": recorded(run)["principal"]["id"]}
        if asker:
            must_see(row, person, policy, masking)
    if since:
        rows = store.runs(RunFilter(workflow=opened.workflow.name, since_ns=since_ns(since)), limit=limit)
        found += [row["run_id"] for row in reversed(rows) if not asker or may_see(row, person, policy, masking)]
    if not found:
        raise NotFoundError(
            f"no run of {opened.workflow.name} since {since}", hint="List all runs: sluicegate trace list"
        )
    return list(dict.fromkeys(found))


def _summary(changes: "Sequence[ReplayChange]") -> dict[str, Any]:
    fields = Counter(each.field for change in changes if change.changed for each in change.differences)
    paths = Counter(f"{change.before['path']} → {change.after['path']}" for change in changes)
    return {
        "replayed": len(changes),
        "changed": sum(change.changed for change in changes),
        "fields": dict(fields.most_common()),
        "paths": dict(paths.most_common()),
        "usd": {side: sum(getattr(change, side)["usd"] for change in changes) for side in ("before", "after")},
        "ms": {
            side: statistics.median(getattr(change, side)["ms"] for change in changes) for side in ("before", "after")
        },
    }


def _print(changes: "Sequence[ReplayChange]", opened: "Opened") -> None:
    from rich.markup import escape
    from rich.table import Table

    from sluicegate.graphs.session.view import plain

    screen = console()
    for change in changes:
        mark = "[yellow]changes[/yellow]" if change.changed else "[green]same[/green]   "
        screen.print(f"{mark}  [bold]{escape(' '.join(change.request.split())[:100])}[/bold]  [dim]{change.run}[/dim]")
        table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 2))
        for each in change.differences:
            if each.field != "workflow":
                table.add_row(
                    each.field, f"[dim]{escape(plain(each.before, 200))}[/dim]", "→", escape(plain(each.after, 200))
                )
        if change.unread:
            table.add_row("not shown", "", "", escape(change.unread))
        if change.withheld:
            table.add_row("withheld", "", "", escape(", ".join(change.withheld)) + " [dim](denied by policy)[/dim]")
        table.add_row("time", f"[dim]{change.before['ms']:.0f} ms[/dim]", "→", f"{change.after['ms']:.0f} ms")
        screen.print(table)
    found = _summary(changes)
    screen.print(
        f"\n{found['changed']} of {found['replayed']} would have changed on "
        f"{opened.workflow.name} {opened.workflow.version}"
    )
    for path, count in found["paths"].items():
        screen.print(f"  {count:>4}  {path}")
    screen.print(f"  cost ${found['usd']['before']:.5f} → ${found['usd']['after']:.5f}")
    screen.print(f"  median time {found['ms']['before']:.0f} ms → {found['ms']['after']:.0f} ms")
