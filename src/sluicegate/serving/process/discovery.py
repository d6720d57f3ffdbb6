"""Which workflows a server is asked for: files, and of folders every workflow below them.

In a folder a workflow is told by what it is, a YAML file with the top-level key `workflow`, whatever its name. Other
YAML files, such as plans and examples of policies, are passed over, as are overlays that only `extend` a workflow and
keep its name: those are its variants.
"""

import os
import re
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, cast

from sluicegate.errors import ConfigError, Problem
from sluicegate.graphs.config.load import Workflow, inspect
from sluicegate.graphs.config.source import Source, read
from sluicegate.home import home

__all__ = ["Discovery", "duplicate", "load_all"]

_NAMES = re.compile(rb"""^["']?workflow["']?\s*:""", re.MULTILINE)
"""Of what is not YAML: it was to be a workflow."""


class Discovery:
    """Looks for workflows, again and again: a file is read only when it has changed."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int, int], bool]] = {}

    def workflows_below(self, folder: Path) -> list[Path]:
        """Every workflow below a folder, hidden folders and the home left out."""
        return sorted(file for file in _below(folder) if self._is_workflow(file))

    def _is_workflow(self, file: Path) -> bool:
        try:
            status = file.stat()
        except OSError:
            return False
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        known = self._known.get(file)
        if known is None or known[0] != stamp:
            known = self._known[file] = stamp, _is_workflow(read(file))
        return known[1]


def load_all(paths: Sequence[Path]) -> list[Workflow]:
    """The workflows that these files and folders have, in the order of their names.

    Raises `ConfigError` with every problem of every one of them; SG101 for a folder without any, SG144 for two that
    have one name.
    """
    files: dict[Path, Path] = {}
    problems: list[Problem] = []
    for path in paths:
        found = Discovery().workflows_below(path) if path.is_dir() else [path]
        if not found:
            problems.append(Problem("SG101", f"no workflow in {path}", hint="A workflow is a YAML file that names one"))
        for file in found:
            files.setdefault(file.resolve(), file)
    loaded: dict[str, Workflow] = {}
    for file in files.values():
        workflow, its = inspect(file)
        problems += [problem for problem in its if problem.severity == "error"]
        if workflow is None:
            continue
        if other := loaded.get(workflow.name):
            problems.append(duplicate(workflow, other))
        loaded[workflow.name] = workflow
    if problems:
        raise ConfigError(problems)
    return [loaded[name] for name in sorted(loaded)]


def duplicate(one: Workflow, other: Workflow) -> Problem:
    """The problem that two workflows of one name are."""
    first = other.source.place(("workflow",))
    return Problem(
        "SG144",
        f"a second workflow named {one.name}: the first is {first.file}, line {first.line}",
        one.source.place(("workflow",)),
        hint="Give one of them another name, or serve only one",
    )


def _below(folder: Path) -> Generator[Path]:
    own = home().resolve()
    for at, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if not each.startswith(".") and Path(at, each).resolve() != own]
        yield from (Path(at, each) for each in files if not each.startswith(".") and each.endswith((".yaml", ".yml")))


def _is_workflow(source: Source) -> bool:
    if isinstance(source.data, dict):
        return "workflow" in cast("dict[str, Any]", source.data)
    # one that cannot be read is not to be left out without a word
    return source.path.stem == "workflow" or any(_NAMES.search(each) for each in source.contents.values())
