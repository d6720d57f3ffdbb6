"""`sluicegate batch`: millions of rows through a workflow or a small task, by one process or by Ray."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluicegate.cli._support.console import AsJson, console, emit, notes
from sluicegate.cli._support.engines import Actors, EngineOption, engine_named
from sluicegate.cli.run import requester

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.progress import Progress

    from sluicegate.batch.run import Standing, Wanted
    from sluicegate.batch.task import BatchTask
    from sluicegate.batch.work import BlockDone
    from sluicegate.state import Principal

__all__ = ["app"]

app = typer.Typer(help="Run millions of rows, resumable after a crash; see how far a batch is.", no_args_is_help=True)

Input = Annotated[
    str, typer.Argument(help="A .jsonl, .csv or .parquet file, or a folder of them; a path or a URI such as s3://….")
]
Out = Annotated[str, typer.Option("--out", help="Folder of the output, a path or a URI. Give it again to resume.")]
Concurrency = Annotated[int, typer.Option(min=1, max=256, help="Concurrent rows of each worker; for remote models.")]
IdColumn = Annotated[str, typer.Option("--id", help="Column with each row's id.")]
Number = Annotated[bool, typer.Option("--number", help="Take the row's number as its id.")]
Limit = Annotated[int, typer.Option(min=0, help="Only the first N rows; 0 for all.")]
BlockRows = Annotated[int, typer.Option(min=1, max=100_000, help="Rows of a block, which is one output file.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Do blocks with failed rows again.")]


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="The workflow's file.")],
    data: Input,
    out: Out,
    engine: EngineOption = "local",
    actors: Actors = 0,
    concurrency: Concurrency = 1,
    id_column: IdColumn = "id",
    number: Number = False,
    limit: Limit = 0,
    block_rows: BlockRows = 256,
    max_cost: Annotated[
        float | None, typer.Option(min=0, help="Cap of the whole batch in US dollars, over all its resumes.")
    ] = None,
    retry_failed: RetryFailed = False,
    settle: Annotated[
        bool, typer.Option("--settle", help="Run nothing: book what killed workers may have spent, and free the rest.")
    ] = False,
    user: Annotated[str, typer.Option("--as", help="User id of the requester of rows that name none.")] = "me",
    role: Annotated[list[str] | None, typer.Option(help="Role of that requester (repeatable).")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Group of that requester (repeatable).")] = None,
    clearance: Annotated[str, typer.Option(help="Clearance of that requester.")] = "internal",
    as_json: AsJson = False,
) -> None:
    """Run every row through a workflow; given again with the same folder, go on where it stopped."""
    from sluicegate.graphs.config.load import load

    workflow = load(config)
    wanted = _wanted(
        data,
        out,
        requester(user, role, group, clearance),
        (id_column, number, limit, block_rows, concurrency),
        workflow=config,
        name=workflow.name,
        version=str(workflow.version),
        digest=workflow.digest,
        max_cost=max_cost,
    )
    if settle:
        _settle(wanted, as_json)
    else:
        _run(wanted, engine, actors, retry_failed, as_json)


@app.command()
def task(
    name: Annotated[str, typer.Argument(metavar="TASK", help="classify, extract, tag, summarise or route.")],
    data: Input,
    out: Out,
    label: Annotated[
        list[str] | None, typer.Option(help="classify: LABEL or LABEL=DESCRIPTION (repeatable, at least two).")
    ] = None,
    choice: Annotated[
        list[str] | None, typer.Option("--tag", help="tag: TAG or TAG=DESCRIPTION to choose from (repeatable).")
    ] = None,
    schema: Annotated[Path | None, typer.Option(help="extract: file with the JSON Schema of the object.")] = None,
    router: Annotated[Path | None, typer.Option(help="route: folder of a router artifact.")] = None,
    otherwise: Annotated[str, typer.Option(help="route: label below the router's threshold.")] = "",
    model: Annotated[str, typer.Option(help="Model as provider:model; by default as `sluicegate task`.")] = "",
    engine: EngineOption = "local",
    actors: Actors = 0,
    concurrency: Concurrency = 1,
    id_column: IdColumn = "id",
    number: Number = False,
    limit: Limit = 0,
    block_rows: BlockRows = 1024,
    retry_failed: RetryFailed = False,
    as_json: AsJson = False,
) -> None:
    """Do one small task for every row."""
    from sluicegate.batch.task import TaskSpec
    from sluicegate.cli.task import schema_in

    settings: dict[str, Any]
    chosen: BatchTask
    match name:
        case "classify":
            chosen, settings = "classify", {"labels": _named(label, "--label", at_least=2)}
        case "tag":
            chosen, settings = "tag", {"tags": _named(choice, "--tag", at_least=1)}
        case "extract":
            if schema is None:
                raise typer.BadParameter("is needed for extract", param_hint="--schema")
            chosen, settings = "extract", {"schema": schema_in(schema)}
        case "route":
            if router is None:
                raise typer.BadParameter("is needed for route", param_hint="--router")
            chosen, settings = "route", {"router": str(router.absolute()), "otherwise": otherwise}
        case "summarise":
            chosen, settings = "summarise", {}
        case _:
            raise typer.BadParameter("choose classify, extract, tag, summarise or route", param_hint="TASK")
    rows = id_column, number, limit, block_rows, concurrency
    wanted = _wanted(
        data, out, requester("batch", None, None, "internal"), rows, task=TaskSpec(chosen, settings, model)
    )
    _run(wanted, engine, actors, retry_failed, as_json)


@app.command()
def status(
    folder: Annotated[str, typer.Argument(help="Folder of the output, a path or a URI.")], as_json: AsJson = False
) -> None:
    """Show how far a batch is, and what came out so far."""
    from sluicegate.batch.run import standing

    _show(standing(folder), folder, as_json)


def _wanted(data: str, out: str, asker: "Principal", rows: tuple[str, bool, int, int, int], **what: Any) -> "Wanted":
    """`rows`: column of the ids, whether rows are numbered instead, limit, rows of a block, and rows at a time."""
    from sluicegate.batch.run import Wanted

    column, number, limit, block_rows, concurrency = rows
    return Wanted(
        data,
        out,
        asker,
        id_column="" if number else column,
        limit=limit,
        block_rows=block_rows,
        concurrency=concurrency,
        **what,
    )


def _settle(wanted: "Wanted", as_json: bool) -> None:
    from sluicegate.batch.run import open_batch

    _show(open_batch(wanted).settle(), wanted.out, as_json)


def _run(wanted: "Wanted", engine: str, actors: int, retry_failed: bool, as_json: bool) -> None:
    from sluicegate.batch.run import open_batch

    batch = open_batch(wanted)
    opened = engine_named(engine, actors)
    try:
        with _rate() as bar:
            waiting = sum(counts.rows for counts in batch.done.values())
            line = bar.add_task("rows", total=batch.plan.rows, completed=waiting, cost="")
            found = batch.run(opened, retry_failed=retry_failed, on_block=_told(bar, line))
    finally:
        opened.close()
    _show(found, wanted.out, as_json)
    if found.counts.failures:
        raise typer.Exit(1)


def _rate() -> "Progress":
    """A progress bar with rows per second and the cost; silent when standard error is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    screen = notes()
    speed = TextColumn("{task.speed:.0f}/s" if sys.stderr.isatty() else "")
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        speed,
        TextColumn("{task.fields[cost]}"),
        TimeRemainingColumn(),
        console=screen,
        disable=not screen.is_terminal,
    )


def _told(bar: "Progress", line: Any) -> "Callable[[BlockDone, int], None]":
    spent = [0]

    def told(done: "BlockDone", new: int) -> None:
        spent[0] += done.counts.usd_micros if new else 0
        bar.update(line, advance=new, cost=f"${spent[0] / 1_000_000:.4f}")

    return told


def _show(found: "Standing", folder: str, as_json: bool) -> None:
    if as_json:
        emit(found.as_json())
        return
    screen, counts = console(), found.counts
    state = "complete" if found.complete else f"{found.done} of {found.blocks} blocks done"
    head = f"{found.manifest.workflow} {found.manifest.version}".strip()
    screen.print(f"[bold]{head}[/bold] {found.manifest.input}: {counts.rows} of {found.manifest.rows} rows, {state}")
    for title, counted in (("status", counts.status), ("path", counts.path), ("failed", counts.failed)):
        said = ", ".join(f"{name} {number}" for name, number in counted.most_common())
        if said:
            screen.print(f"{title}: {said}", markup=False)
    screen.print(f"cost: ${counts.usd:.6f}, {counts.tokens} tokens", markup=False)
    if found.seconds and found.new_rows:
        screen.print(f"{found.new_rows} rows in {found.seconds:.1f} s, {found.new_rows / found.seconds:.1f} rows/s")
    if counts.waiting:
        again = "give the same command again when they are decided"
        screen.print(f"{counts.waiting} rows wait: sluicegate approvals list; {again}", style="yellow", markup=False)
    screen.print(f"output: {folder}/rows, failed rows in {folder}/failed", style="dim", markup=False)


def _named(given: list[str] | None, option: str, *, at_least: int) -> dict[str, str]:
    found = {name: about or name.replace("_", " ") for name, _, about in (one.partition("=") for one in given or [])}
    if len(found) < at_least:
        raise typer.BadParameter(f"give at least {at_least}", param_hint=option)
    return found
