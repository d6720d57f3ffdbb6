"""`sluicegate ingest`: bring a workflow's indexes up to date with their documents."""

import asyncio
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluicegate.cli._support.console import AsJson, console, emit, notes, progress

if TYPE_CHECKING:
    from sluicegate.graphs.config.load import Workflow
    from sluicegate.retrieval.ingest import IngestReport

__all__ = ["app"]

app = typer.Typer()


@app.command()
def ingest(
    config: Annotated[Path, typer.Argument(help="A workflow's file, or a folder: every workflow below it.")],
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Files or folders to update; by default the whole index.")
    ] = None,
    index: Annotated[str, typer.Option(help="Only this index; required with PATHS when there are several.")] = "",
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Read and embed everything again, after corruption or with a new embedder."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Ingest documents into the indexes of workflows; only what changed is read and embedded.

    Those of the workflows that are their steps too, unless PATHS or an index are chosen.
    Exits with 1 when a file could not be read; the other files are ingested.
    """
    from sluicegate.serving.process.discovery import load_all

    workflows = _outermost(load_all([config]))
    if len(workflows) == 1:
        chosen = _chosen(workflows[0], index, given=bool(paths))
    else:
        chosen = _chosen_of_many(config, workflows, choosing=bool(index or paths))
    reports = asyncio.run(_ingest_all(workflows, chosen, paths or [], rebuild=rebuild))
    if as_json:
        names = [workflow.name for workflow in workflows]
        of = {"workflow": names[0]} if len(names) == 1 else {"workflows": names}
        emit({**of, "indexes": {name: asdict(report) for name, report in reports.items()}})
    else:
        _show(reports)
    if any(problem.severity == "error" for report in reports.values() for problem in report.problems):
        raise typer.Exit(1)


def _chosen(workflow: "Workflow", index: str, *, given: bool) -> list[tuple["Workflow", str]]:
    """Indexes by name, each with the workflow that it is of."""
    from sluicegate.errors import ConfigError, Problem, nearest

    names = list(workflow.config.indexes)
    every = [(one, name) for one in workflow.family for name in one.config.indexes]
    if not (names if index or given else every):
        what, hint = f"{workflow.name} has no index", "Add one under `indexes:`"
    elif index and index not in names:
        what, hint = f"{workflow.name} has no index {index!r}", None
    elif given and not index and len(names) > 1:
        what, hint = f"{workflow.name} has several indexes", "Choose one: --index NAME"
    else:
        return [(workflow, index)] if index else [(workflow, name) for name in names] if given else every
    near = nearest(index, names) if index else None
    raise ConfigError([Problem("SG115", what, choices=tuple(names), suggestion=near, hint=hint)])


def _outermost(workflows: "list[Workflow]") -> "list[Workflow]":
    """Those that are no step of another one: with it, its steps are taken in."""
    within = {one.path.resolve() for workflow in workflows for one in workflow.family if one is not workflow}
    return [workflow for workflow in workflows if workflow.path.resolve() not in within]


def _chosen_of_many(folder: Path, workflows: "list[Workflow]", *, choosing: bool) -> list[tuple["Workflow", str]]:
    """Every index of a folder's workflows, each once."""
    from sluicegate.errors import ConfigError, Problem

    names = tuple(workflow.name for workflow in workflows)
    if choosing:
        what, hint = f"{folder} has several workflows", "Name the file of one, to choose its documents or an index"
        raise ConfigError([Problem("SG115", what, choices=names, hint=hint)])
    every = {(one.name, name): one for workflow in workflows for one in workflow.family for name in one.config.indexes}
    return [(one, name) for (_, name), one in every.items()]


async def _ingest_all(
    workflows: "list[Workflow]", chosen: list[tuple["Workflow", str]], paths: list[Path], *, rebuild: bool
) -> dict[str, "IngestReport"]:
    from sluicegate.models.chain import ModelSet
    from sluicegate.retrieval.stores.sharing import ingest_index

    models = {one.digest: ModelSet(one.config.models) for one, _ in chosen}
    reports: dict[str, IngestReport] = {}
    with progress() as bar:
        for one, name in chosen:
            title = name if len(workflows) == 1 and one is workflows[0] else f"{one.name}/{name}"
            task = bar.add_task(title, total=None)

            def moved(done: int, total: int, file: str, task: Any = task, title: str = title) -> None:
                bar.update(task, completed=done, total=total, description=f"{title} {Path(file).name}".strip())

            report = await ingest_index(
                one.name,
                name,
                paths,
                one.config.indexes[name],
                models[one.digest],
                folders=one.folders,
                progress=moved,
                rebuild=rebuild,
            )
            reports[title] = _with_languages(one, name, report)
    return reports


def _with_languages(workflow: "Workflow", name: str, report: "IngestReport") -> "IngestReport":
    """The report with the warning of documents in languages that the embedder does not know."""
    from sluicegate.cli._support.index_languages import unknown_languages
    from sluicegate.errors import IndexMissingError
    from sluicegate.retrieval.catalog import Catalog
    from sluicegate.retrieval.stores.sharing import readable_folder

    try:
        folder = readable_folder(workflow.name, name, workflow.config.indexes[name])
    except IndexMissingError:
        # a store that nothing was published to, since there was nothing to ingest
        return report
    with closing(Catalog(folder, name=name)) as catalog:
        head = catalog.head()
        warning = unknown_languages(workflow, name, catalog, head) if head else None
    return replace(report, problems=(*report.problems, warning)) if warning else report


def _show(reports: dict[str, "IngestReport"]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("index", "added", "updated", "unchanged", "removed", "passages", "embedded", "seconds", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, report in reports.items():
        counts = (len(report.added), len(report.updated), report.unchanged, len(report.removed))
        figures = (*counts, report.chunks, report.embedded, f"{report.seconds:.1f}")
        table.add_row(Text(name), *(str(figure) for figure in figures))
    console().print(table)
    changes = [
        (sign, style, document)
        for report in reports.values()
        for sign, style, documents in (
            ("+", "green", report.added),
            ("~", "yellow", report.updated),
            ("-", "red", report.removed),
        )
        for document in documents
    ]
    for sign, style, document in changes[:_SHOWN]:
        console().print(Text(f"{sign} {document}", style=style), soft_wrap=True)
    if len(changes) > _SHOWN:
        console().print(f"… and {len(changes) - _SHOWN} more; --json names them all")
    for report in reports.values():
        for problem in report.problems:
            style = "red" if problem.severity == "error" else "yellow"
            notes().print(Text(str(problem), style=style), soft_wrap=True)


_SHOWN = 8
"""Documents listed in a table."""
