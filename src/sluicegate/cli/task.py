"""`sluicegate task`: run one small task on a text, or measure how well a model does it."""

import asyncio
import json
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluicegate.cli._support.console import AsJson, console, emit, progress
from sluicegate.errors import ConfigError, Place, Problem
from sluicegate.files import MAX_ROWS_BYTES, read_bounded
from sluicegate.lazy_modules import SCHEMA_FORMATS, postponed

if TYPE_CHECKING:
    from sluicegate.tasks import TaskResult

__all__ = ["app", "schema_in"]

app = typer.Typer(help="Run one small task: classify, extract, tag, summarise, route, check; or measure one.")

Text = Annotated[str, typer.Argument(help="The text, or a file with it; `-` reads standard input.")]
Model = Annotated[
    str,
    typer.Option(help="Model as provider:model; by default Ollama's small model, or without Ollama the embedded one."),
]


@app.command()
def classify(
    text: Text,
    label: Annotated[list[str], typer.Option(help="LABEL or LABEL=DESCRIPTION (repeatable, at least two).")],
    decoding: Annotated[
        bool, typer.Option("--decoding", help="Choose by the text model instead of embeddings.")
    ] = False,
    model: Model = "",
    as_json: AsJson = False,
) -> None:
    """Choose the one label that fits a text."""
    from sluicegate import tasks

    labels = {name: about or name.replace("_", " ") for name, _, about in (one.partition("=") for one in label)}
    if len(labels) < 2:
        raise typer.BadParameter("give at least two", param_hint="--label")
    by = "decoding" if decoding else "meaning"
    _show(tasks.classify(_given(text), labels, by=by, models=tasks.default_models(model)), as_json)


@app.command()
def extract(
    text: Text,
    schema: Annotated[Path, typer.Option(help="File with the JSON Schema of the object.")],
    rule: Annotated[
        list[str] | None,
        typer.Option(
            "--value",
            help="FIELD=stated, reworded or derived: how a field may follow from the text (repeatable; by default it"
            " must stand there).",
        ),
    ] = None,
    model: Model = "",
    retries: Annotated[int, typer.Option(min=0, max=5, help="How often to retry with the validation errors.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Extract an object that fits a JSON Schema."""
    from sluicegate import tasks
    from sluicegate.nodes.extraction.stated import Rule

    form, values = schema_in(schema), dict[str, Rule]()
    for field, _, name in (one.partition("=") for one in rule or []):
        if name not in ("stated", "reworded", "derived") or field not in form.get("properties", {}):
            raise typer.BadParameter("give a field of the schema and its rule", param_hint="--value")
        values[field] = name
    models = tasks.default_models(model)
    _show(tasks.extract(_given(text), form, values=values, models=models, retries=retries), as_json)


@app.command()
def tag(
    text: Text,
    choice: Annotated[list[str], typer.Option("--tag", help="TAG or TAG=DESCRIPTION to choose from (repeatable).")],
    most: Annotated[int, typer.Option(min=1, help="Maximum number of tags.")] = 3,
    model: Model = "",
    as_json: AsJson = False,
) -> None:
    """Choose the tags that fit a text."""
    from sluicegate import tasks

    tags = {name: about or name for name, _, about in (one.partition("=") for one in choice)}
    _show(tasks.tag(_given(text), tags, most=most, models=tasks.default_models(model)), as_json)


@app.command()
def summarise(
    text: Text,
    model: Model = "",
    max_tokens: Annotated[int, typer.Option(min=1, help="Maximum output tokens.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Summarise a text in a sentence or two."""
    from sluicegate import tasks

    _show(tasks.summarise(_given(text), max_tokens=max_tokens, models=tasks.default_models(model)), as_json)


@app.command()
def route(
    text: Text,
    router: Annotated[Path, typer.Option(help="Folder of a router artifact.")],
    otherwise: Annotated[str, typer.Option(help="Label to return below the router's threshold.")] = "",
    as_json: AsJson = False,
) -> None:
    """Route a text with a fitted router, where its confidence reaches the threshold."""
    from sluicegate import tasks

    _show(tasks.route(_given(text), router, otherwise=otherwise), as_json)


@app.command()
def check(
    text: Text,
    source: Annotated[str, typer.Option(help="Source that must support the text: a text or a file.")],
    model: Model = "",
    as_json: AsJson = False,
) -> None:
    """Check whether a source supports the text; exits with 1 when it does not."""
    from sluicegate import tasks

    found = _show(tasks.check(_given(text), _given(source), models=tasks.default_models(model)), as_json)
    if not found.value:
        raise typer.Exit(1)


@app.command()
def measure(
    name: Annotated[str, typer.Argument(help="classify, extract, tag, summarise, route, check or all.")],
    model: Model = "",
    limit: Annotated[int, typer.Option(min=0, help="Only the first N rows of the set; 0 for all.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Measure a model on a task, on the small labelled set that comes with the package."""
    from rich.table import Table

    from sluicegate import tasks

    wanted: list[tasks.TaskName] = [known for known in tasks.TASKS if name in (known, "all")]
    if not wanted:
        raise ConfigError([Problem("SG107", f"no task {name!r}", choices=(*tasks.TASKS, "all"))])

    async def all_of_them() -> list[tasks.TaskMeasurement]:
        models, found = tasks.default_models(model), list[tasks.TaskMeasurement]()
        with progress() as bar:
            for task in wanted:
                line = bar.add_task(task, total=None)

                def moved(done: int, total: int, line: Any = line) -> None:
                    bar.update(line, completed=done, total=total)

                found.append(await tasks.measure(task, models=models, limit=limit or None, on_progress=moved))
        return found

    measured = asyncio.run(all_of_them())
    if as_json:
        emit([{**_plain(one), "accuracy": one.accuracy} for one in measured])
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("task", "right", "accuracy", "95 % CI", "median", "model"):
        table.add_column(heading)
    for one in measured:
        share, width = f"{one.accuracy:.0%}", f"{one.low:.0%} to {one.high:.0%}"
        table.add_row(one.task, f"{one.right} of {one.rows}", share, width, f"{one.median_ms:.0f} ms", one.model)
    console().print(table)


def _given(text: str) -> str:
    if text == "-":
        return sys.stdin.read()
    path = Path(text)
    # a long or odd text is not a path, and asking the file system about it may fail
    if len(text) > 500 or "\n" in text or "\0" in text or not path.is_file():
        return text
    try:
        return read_bounded(path, MAX_ROWS_BYTES).decode()
    except OSError as error:
        raise ConfigError([Problem("SG101", f"cannot read {path}: {error.strerror}")]) from error


def schema_in(file: Path) -> dict[str, Any]:
    with postponed(SCHEMA_FORMATS):
        from jsonschema import Draft202012Validator, SchemaError

    try:
        form: Any = json.loads(read_bounded(file, MAX_ROWS_BYTES))
        Draft202012Validator.check_schema(form)
    except OSError as error:
        raise ConfigError([Problem("SG101", f"cannot read {file}: {error.strerror}")]) from error
    except (ValueError, SchemaError) as error:
        what = error.message if isinstance(error, SchemaError) else str(error)
        raise ConfigError([Problem("SG107", f"not a JSON Schema: {what}", Place(str(file), 1, 1))]) from error
    # `true` is a schema too, but names no fields
    return form if isinstance(form, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def _show(task: "Coroutine[Any, Any, TaskResult[Any]]", as_json: bool) -> "TaskResult[Any]":
    found = asyncio.run(task)
    if as_json:
        emit(_plain(found))
        return found
    value = found.value if isinstance(found.value, str) else json.dumps(found.value, ensure_ascii=False, indent=2)
    console().print(value, markup=False)
    attempts = "" if found.attempts == 1 else f", {found.attempts} attempts"
    console().print(f"confidence {found.confidence:.2f}, {found.model}, {found.ms:.0f} ms{attempts}", style="dim")
    return found


def _plain(found: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(found)
