"""`sluicegate init`: create a new workflow, from the starter or a pattern, or a package of plug-ins."""

import keyword
import os
import re
import shutil
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from sluicegate.cli._support.console import AsJson, console, emit
from sluicegate.errors import ConfigError, Problem, UnwritableError

__all__ = ["app"]

app = typer.Typer(help="Start a new workflow, or a plug-in package.")


@app.command()
def init(
    name: Annotated[
        str,
        typer.Argument(help="Name of what is created, in a folder of that name under --in; or the folder, as ./shop."),
    ],
    pattern: Annotated[
        str, typer.Option(help="Start from this pattern, by number or name, instead of the starter.")
    ] = "",
    plugin: Annotated[
        bool, typer.Option("--plugin", help="Create a package with a node kind, a tool and a guard instead.")
    ] = False,
    parent: Annotated[
        Path | None, typer.Option("--in", help="Parent folder: configs by default, the current one for a plug-in.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a workflow that runs as it is, or a plug-in package that installs and tests as it is."""
    if plugin and pattern:
        raise typer.BadParameter("a plug-in package starts from no pattern", param_hint="--pattern")
    if len(Path(name).parts) > 1 or name.startswith("./"):
        parent, name = Path(name).parent, Path(name).name
    (_check_package_name if plugin else _check_workflow_name)(name)
    target = (parent or Path("." if plugin else "configs")) / name
    if target.exists():
        raise UnwritableError(f"{target} already exists", hint="Choose another name, or another folder: --in FOLDER")
    source = _packaged("plugin_template") if plugin else _pattern(pattern) if pattern else _packaged("starter")
    try:
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".sluicegate"))
        steps = _name_package(target, name) if plugin else _name_workflow(target, source, name)
    except OSError as error:
        raise UnwritableError(f"cannot write {target}: {error.strerror}") from error
    if as_json:
        emit({"plugin" if plugin else "workflow": name, "folder": str(target), "next": steps})
        return
    screen = console()
    screen.print(f"created {target}; next:", soft_wrap=True)
    for step in steps:
        screen.print(f"  {step}", soft_wrap=True, markup=False)


def _check_workflow_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,60}", name):
        raise ConfigError(
            [Problem("SG107", f"invalid name {name!r}: use letters, digits, - and _, starting with a letter")]
        )


def _check_package_name(name: str) -> None:
    """Refuse what Python could not import, or would import from elsewhere."""
    if len(name) > 60 or not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        fault = f"invalid package name {name!r}"
        hint = "Use lower-case words and digits joined by _, such as shop_tools; no keyword of Python"
        raise ConfigError([Problem("SG107", fault, hint=hint)])
    # a mere folder of that name in the current one has no origin
    if (found := find_spec(name)) and found.origin:
        raise ConfigError([Problem("SG107", f"{name!r} is an installed package", hint="Choose another name")])


def _name_workflow(target: Path, source: Path, name: str) -> list[str]:
    """Give the copy of a workflow its name; returns the commands to go on with."""
    config = target / "workflow.yaml"
    text = re.sub(
        r"^workflow: .*$", f"workflow: {name}", config.read_text(encoding="utf-8"), count=1, flags=re.MULTILINE
    )
    config.write_text(text, encoding="utf-8")
    _readdress(target, source, name)
    from sluicegate.storage.postgres import URL

    shared = bool(os.environ.get(URL))
    return [
        *_installing(text, shared=shared),
        f"sluicegate check {config}",
        # nothing to ingest where nothing is retrieved
        *([f"sluicegate ingest {config}"] if re.search(r"^indexes:", text, flags=re.MULTILINE) else []),
        f"sluicegate run {config} {target / 'examples' / 'requests.jsonl'}",
        # what machines that share a server accept, its workers carry
        *([f"sluicegate worker {config}"] if shared else []),
    ]


def _installing(text: str, *, shared: bool) -> list[str]:
    """The command that installs what a workflow, or the server that machines share, needs and is not here."""
    needs = {"s3": "obstore"} if re.search(r"\bstore: *[\"']?s3://", text) else {}
    needs |= {"postgres": "psycopg", "dbos": "dbos"} if shared else {}
    missing = [extra for extra, module in needs.items() if not find_spec(module)]
    return [f'pip install "sluicegate[{",".join(missing)}]"'] if missing else []


def _name_package(target: Path, name: str) -> list[str]:
    """Give the copy of the plug-in template its name, wherever it stands; returns the commands to go on with."""
    for path in sorted(target.rglob("*"), reverse=True):  # what is in a folder before the folder
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            text = text.replace("example_plugin", name).replace("example-plugin", name.replace("_", "-"))
            path.write_text(text, encoding="utf-8")
        if "example_plugin" in path.name:
            path.rename(path.with_name(path.name.replace("example_plugin", name)))
    folder = target if target.is_absolute() else f"./{target}"  # else pip would look for a package of that name
    return [
        f"pip install -e '{folder}[test]'",
        f"pytest {target}",
        f"sluicegate check {target / 'workflow.yaml'}",
        f'sluicegate run {target / "workflow.yaml"} "Roll a die for me"',
    ]


def _readdress(target: Path, source: Path, name: str) -> None:
    """A pattern's README, with the folder and name that were chosen here."""
    page = target / "README.md"
    if not page.is_file():
        return
    config, text = (source / "workflow.yaml").read_text(encoding="utf-8"), page.read_text(encoding="utf-8")
    if old := re.search(r"^workflow: (\S+)", config, flags=re.MULTILINE):
        text = re.sub(rf"(?<![\w/-]){re.escape(old[1])}(?![\w-])", name, text)
    text = text.replace(f"configs/patterns/{source.name}", str(target))
    # links to pages of this project, which the new folder does not have
    text = re.sub(r"\[([^\]]+)\]\((?:\.\./)+(docs/[^)]+)\)", r"\1 (\2 of Sluicegate)", text)
    page.write_text(text, encoding="utf-8")


def _packaged(folder: str) -> Path:
    return Path(str(files("sluicegate.cli"))) / folder


def _pattern(wanted: str) -> Path:
    folder = Path(str(files("sluicegate"))) / "patterns"
    known = {path.name: path for path in sorted(folder.glob("*/")) if (path / "workflow.yaml").is_file()}
    for position, (pattern, path) in enumerate(known.items(), start=1):
        number = re.match(r"0*(\d+)", pattern)
        if wanted in (pattern, pattern.split("-", 1)[-1], number[1] if number else str(position)):
            return path
    raise ConfigError([Problem("SG107", f"no pattern {wanted!r}", choices=tuple(known))])
