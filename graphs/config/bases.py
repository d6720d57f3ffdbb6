"""Workflows that extend others: a file read and merged over its bases, and what it promises less than they do."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from sluicegate.errors import Problem
from sluicegate.graphs.config.models import WorkflowConfig
from sluicegate.graphs.config.overlay import overlay, weakened
from sluicegate.graphs.config.source import Source, read
from sluicegate.graphs.config.validate import Faults, valid_config

__all__ = ["check_weakened", "lacks_base", "read_with_bases"]


_PLAIN_KEYS = frozenset({"no"})
"""Keys of the language that YAML 1.1 reads as booleans."""


_MOST_BASES = 16
"""How many files may stand one upon the other."""


def read_with_bases(path: Path, below: tuple[Path, ...] = ()) -> Source:
    """A file merged over those it extends.

    A base may lie anywhere, since a variant has a folder of its own, but it must be a workflow: of any other file
    nothing is shown, not even what is wrong with it.
    """
    source = read(path, plain_keys=_PLAIN_KEYS)
    base = cast("dict[str, Any]", source.data).get("extends") if isinstance(source.data, dict) else None
    if not isinstance(base, str):
        return source
    place, trail = source.place(("extends",)), (*below, path.resolve())
    try:
        target = Path(os.path.normpath(path.parent / base))
        circular = target.resolve() in trail
    except (OSError, ValueError) as error:
        return _with(source, Problem("SG118", f"extends cannot be resolved: {error}", place))
    if circular:
        way = " -> ".join(step.name for step in (*trail, target))
        return _with(source, Problem("SG118", f"circular extends: {way}", place))
    if len(trail) > _MOST_BASES:
        what, hint = f"extends more than {_MOST_BASES} files, one by the other", "Write one of them out"
        return _with(source, Problem("SG118", what, place, hint=hint))
    if target.suffix not in (".yaml", ".yml"):
        what, hint = f"{base!r} is no workflow: its name does not end in .yaml", "Name a workflow file"
        return _with(source, Problem("SG118", what, place, hint=hint))
    under = read_with_bases(target, trail)
    if not isinstance(under.data, dict) or not {"workflow", "extends"} & cast("dict[str, Any]", under.data).keys():
        if under.unread.endswith("file not found"):
            return _with(source, Problem("SG118", f"no workflow {base!r}", place))
        what = f"no workflow {base!r}: {under.unread}" if under.unread else f"{base!r} is no workflow"
        return _with(source, Problem("SG118", what, place, hint=f"Check it by itself: sluicegate check {target}"))
    return overlay(source, under)


def lacks_base(source: Source) -> bool:
    """A base that it extends, itself or through another, could not be used; its problems say why."""
    while source.base:
        source = source.base
    return isinstance(source.data, dict) and isinstance(cast("dict[str, Any]", source.data).get("extends"), str)


def _with(source: Source, *problems: Problem) -> Source:
    return replace(source, problems=(*source.problems, *problems))


def check_weakened(config: WorkflowConfig, faults: Faults) -> None:
    """What an overlay promises less than any of its bases; another look at the same base is not needed."""
    reported: set[str] = set()
    base = faults.source.base
    while base:
        under = valid_config(base, Faults(base))
        for one in weakened(under, config) if under else ():
            if one.what not in reported:
                reported.add(one.what)
                hint = f"Restore it as {base.path.name} has it, or allow it in the plan of a promotion: `weakens`"
                faults.add("SG138", f"weaker than {base.path.name}: {one.what}", one.at, hint=hint, severity="warning")
        base = base.base
