"""What a page of the documentation shows, as its tests execute it."""

import importlib
import re
import shlex

from click.testing import Result
from typer.testing import CliRunner

from tests.support import ROOT

__all__ = ["blocks", "commands", "page", "run", "table"]


def page(name: str) -> str:
    """The text of a page, by its path in the project."""
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text: str, language: str = "sh") -> list[list[str]]:
    """The `sluicegate` commands of the fenced blocks, split as a shell does, without comments."""
    lines = [line for block in blocks(text, language) for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("sluicegate ")]


def run(command: list[str]) -> Result:
    """Run a `sluicegate` command in this process: a program for each would load the libraries each time."""
    module = importlib.import_module(f"sluicegate.cli.{command[1]}")
    return CliRunner().invoke(module.app, command[2:])


def table(text: str, first: str) -> dict[str, list[str]]:
    """The rows of the table whose first heading is `first`: the other cells by the first cell."""
    after = text.split(f"| {first} |", 1)[1].splitlines()[2:]
    rows: dict[str, list[str]] = {}
    for line in after:
        if not line.startswith("| "):
            break
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        rows[cells[0]] = cells[1:]
    return rows
