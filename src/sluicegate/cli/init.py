"""`sluicegate init`: create a new workflow, from the starter or from one of the patterns."""

import re
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from sluicegate.cli._support.console import AsJson, console, emit
from sluicegate.errors import ConfigError, Problem, RunError

__all__ = ["app"]

app = typer.Typer(help="Start a new workflow.")


@app.command()
def init(
    name: Annotated[
        str,
        typer.Argument(help="Name of the workflow, whose folder is created under --in; or the folder, such as ./shop."),
    ],
    pattern: Annotated[
        str, typer.Option(help="Start from this pattern, by number or name, instead of the starter.")
    ] = "",
    parent: Annotated[Path, typer.Option("--in", help="Parent folder.")] = Path("configs"),
    as_json: AsJson = False,
) -> None:
    """Create a workflow that runs as it is: config, prompts, policy, two documents, examples."""
    if len(Path(name).parts) > 1 or name.startswith("./"):
        parent, name = Path(name).parent, Path(name).name
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,60}", name):
        raise ConfigError(
            [Problem("SG107", f"invalid name {name!r}: use letters, digits, - and _, starting with a letter")]
        )
    target = parent / name
    if target.exists():
        raise RunError("SG607", f"{target} already exists", hint="Choose another name, or another folder: --in FOLDER")
    source = _pattern(pattern) if pattern else _starter()
    try:
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".sluicegate"))
        config = target / "workflow.yaml"
        text = re.sub(
            r"^workflow: .*$", f"workflow: {name}", config.read_text(encoding="utf-8"), count=1, flags=re.MULTILINE
        )
        config.write_text(text, encoding="utf-8")
        _readdress(target, source, name)
    except OSError as error:
        raise RunError("SG607", f"cannot write {target}: {error.strerror}") from error
    steps = [
        f"sluicegate check {config}",
        # nothing to ingest where nothing is retrieved
        *([f"sluicegate ingest {config}"] if re.search(r"^indexes:", text, flags=re.MULTILINE) else []),
        f"sluicegate run {config} {target / 'examples' / 'requests.jsonl'}",
    ]
    if as_json:
        emit({"workflow": name, "folder": str(target), "next": steps})
        return
    screen = console()
    screen.print(f"created {target}; next:", soft_wrap=True)
    for step in steps:
        screen.print(f"  {step}", soft_wrap=True)


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


def _starter() -> Path:
    return Path(str(files("sluicegate.cli"))) / "starter"


def _pattern(wanted: str) -> Path:
    folder = Path(str(files("sluicegate"))) / "patterns"
    known = {path.name: path for path in sorted(folder.glob("*/")) if (path / "workflow.yaml").is_file()}
    for position, (pattern, path) in enumerate(known.items(), start=1):
        number = re.match(r"0*(\d+)", pattern)
        if wanted in (pattern, pattern.split("-", 1)[-1], number[1] if number else str(position)):
            return path
    raise ConfigError([Problem("SG107", f"no pattern {wanted!r}", choices=tuple(known))])
