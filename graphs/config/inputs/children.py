"""The workflows that are nodes of another one, each loaded once, however often it is used."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from sluicegate.errors import Problem
from sluicegate.graphs.config.references import first_existing
from sluicegate.graphs.config.source import Pointer
from sluicegate.graphs.config.validate import Faults
from sluicegate.graphs.proofs.flow import Flow
from sluicegate.nodes.kinds.control.workflow import SubWorkflow

__all__ = ["check_taken", "load_children"]

W = TypeVar("W")

MOST_LEVELS = 8
"""How many workflows may stand one within the other."""


def load_children(
    settings: Mapping[str, BaseModel],
    folders: Sequence[Path],
    faults: Faults,
    above: tuple[Path, ...],
    inspect: Callable[[Path], tuple[W | None, Sequence[Problem]]],
) -> dict[str, W]:
    """Each child by its node, and the children's problems in `faults`.

    SG143 for one that is missing, calls its parent, or lies too deep; `above` are the files that lead here, this
    workflow's last.
    """
    found: dict[str, W] = {}
    reported: set[Path] = set()
    for node, own in settings.items():
        if not isinstance(own, SubWorkflow):
            continue
        at: Pointer = ("nodes", node, "use")
        path = first_existing(folders, own.use)
        if path is None or path.suffix not in (".yaml", ".yml") or not path.is_file():
            known = path is not None
            what = (
                f"{own.use!r} is no workflow: its name does not end in .yaml" if known else f"no workflow {own.use!r}"
            )
            hint = "Name a workflow file" if known else f"It is looked for in {', '.join(map(str, folders))}"
            faults.add("SG143", what, at, hint=hint)
            continue
        path = Path(os.path.normpath(path))
        if path.resolve() in above:
            way = " -> ".join(_named(step) for step in (*above[above.index(path.resolve()) :], path))
            faults.add("SG143", f"a workflow that runs itself: {way}", at, hint="Let one of them end without the other")
            continue
        if len(above) > MOST_LEVELS:
            what = f"more than {MOST_LEVELS} workflows, one within the other"
            faults.add("SG143", what, at, hint="Put the steps of the innermost into the one that uses it")
            continue
        child, problems = inspect(path)
        if path not in reported:
            reported.add(path)
            faults.problems += problems
        if child is not None:
            found[node] = child
    return found


def check_taken(flow: Flow, settings: Mapping[str, BaseModel], faults: Faults) -> None:
    """SG124 for what is taken of a child that never writes it."""
    for node, own in settings.items():
        child = flow.nodes[node].child if isinstance(own, SubWorkflow) else None
        for position, key in enumerate(own.take if isinstance(own, SubWorkflow) and child else ()):
            if child and key not in flow.nodes[node].writes:
                what = f"{key!r} cannot be taken: no node of {child.workflow!r} writes it"
                written = sorted({key for one in child.flow.nodes.values() for key in one.writes})
                faults.add("SG124", what, ("nodes", node, "take", position), choices=written, hint="Remove it")


def _named(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
