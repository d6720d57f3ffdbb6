"""`sluicegate trace`: list, show and export runs from the local store."""

import re
import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluicegate.cli.show import AsJson, console, emit

if TYPE_CHECKING:
    from sluicegate.observe.store import RunFilter, Store

__all__ = ["app"]

app = typer.Typer(help="List, show and export runs.", no_args_is_help=True)

Run = Annotated[str, typer.Argument(help="A run id, the start of one, or `last`.")]
Since = Annotated[str, typer.Option(help="Only runs since then: 30m, 12h, 7d, or an ISO time.")]
Workflow = Annotated[str, typer.Option(help="Only this workflow.")]


@app.command("list")
def list_runs(
    workflow: Workflow = "",
    path: Annotated[str, typer.Option(help="Only runs that took this path: cache, slm, rag-slm, rag-llm, …")] = "",
    intent: Annotated[str, typer.Option(help="Only this intent.")] = "",
    status: Annotated[str, typer.Option(help="running, waiting, answered, refused or failed.")] = "",
    user: Annotated[str, typer.Option(help="Only this user's runs.")] = "",
    since: Since = "",
    limit: Annotated[int, typer.Option(min=1, help="At most this many, newest first.")] = 20,
    shadow: Annotated[bool, typer.Option(help="Shadow runs too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first."""
    which = _filter(workflow, path, intent, status, user, since, shadow=shadow)
    runs = _store().runs(which, limit=limit)
    if as_json:
        emit(runs)
        return
    from sluicegate.observe.render import runs_table

    console().print(runs_table(runs) if runs else "no runs")


@app.command()
def show(run: Run, as_json: AsJson = False) -> None:
    """Show one run: every step, decision, model call and check, with timings and cost."""
    store = _store()
    row = _one(store, run)
    spans, scores = store.spans(row["run_id"]), store.scores(row["run_id"])
    if as_json:
        emit({"run": row, "spans": spans, "scores": scores})
        return
    from sluicegate.observe.render import run_view

    console().print(run_view(row, spans, scores))


def _store() -> "Store":
    from sluicegate.home import home
    from sluicegate.observe.store import Store

    return Store(home() / "store.sqlite")


def _one(store: "Store", run: str) -> dict[str, Any]:
    if run == "last":
        runs = store.runs(limit=1)
        run = runs[0]["run_id"] if runs else run
    return store.run(run)


def _filter(workflow: str, path: str, intent: str, status: str, user: str, since: str, *, shadow: bool) -> "RunFilter":
    from sluicegate.observe.masking import Masking
    from sluicegate.observe.store import RunFilter

    # a workflow may keep plain user names
    users = (user, Masking().user(user)) if user else ()
    return RunFilter(workflow, path, intent, status, users=users, since_ns=_since(since), shadow=shadow)


def _since(text: str) -> int:
    """Unix nanoseconds of a time given as an age or in ISO 8601; 0 for none."""
    if not text:
        return 0
    if age := re.fullmatch(r"(\d+)([smhdw])", text):
        seconds = int(age[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[age[2]]
        return int((time.time() - seconds) * 1e9)
    try:
        return int(datetime.fromisoformat(text).astimezone().timestamp() * 1e9)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither an age such as 30m, 12h or 7d nor an ISO time") from None
