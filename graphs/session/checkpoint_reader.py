"""What is recorded of runs, read from their checkpoints without opening their workflows."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from sluicegate.errors import CorruptError, NotFoundError
from sluicegate.home import home
from sluicegate.state import Run, State
from sluicegate.storage.database import place

if TYPE_CHECKING:
    from sluicegate.graphs.runtime.checkpoints import Checkpoints

__all__ = ["all_waiting", "full_id", "left_at_home", "recorded"]


def recorded(run: str) -> State:
    """The last state of a run. Raises `RunError` SG603 (no such run), SG606 (corrupt)."""
    with _checkpoints() as checkpoints:
        return _state(checkpoints, run)


def full_id(start: str) -> str:
    """The run whose id is this, or begins like this. Raises `RunError` SG603 when none or several fit."""
    with _checkpoints() as checkpoints:
        found = checkpoints.beginning(start) if start else ()
    if start in found:
        return start
    if len(found) != 1:
        what = f"several runs begin with {start!r}" if found else f"no run {start!r}"
        raise NotFoundError(what, hint="`sluicegate approvals list` shows what waits, `trace list` what there is")
    return found[0]


def all_waiting(workflow: str = "") -> list[Run]:
    """The runs that stand at an interrupt, shadows left out, the one that has waited longest first."""
    with _checkpoints() as checkpoints:
        found = [_state(checkpoints, thread)["run"] for thread in checkpoints.interrupted()]
    return [run for run in found if not run["shadow"] and workflow in ("", run["workflow"])]


def left_at_home() -> int:
    """How many runs wait in the home although runs are on a server now: from before its URL was set."""
    from sluicegate.graphs.runtime.checkpoints import SqliteCheckpoints

    path = home() / "checkpoints.sqlite"
    if place() == home() or not path.is_file():
        return 0
    checkpoints = SqliteCheckpoints(path)
    try:
        return len(checkpoints.interrupted())
    finally:
        checkpoints.close()


def _state(checkpoints: "Checkpoints", run: str) -> State:
    try:
        found = checkpoints.get_tuple({"configurable": {"thread_id": run}})
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"the checkpoint of run {run} cannot be read: {error}") from error
    values = found.checkpoint["channel_values"] if found else {}
    if "run" not in values:
        raise NotFoundError(f"no run {run} in this home", hint="List runs with: sluicegate trace list")
    return cast("State", values)


@contextmanager
def _checkpoints() -> "Generator[Checkpoints]":
    from sluicegate.graphs.runtime.checkpoints import open_checkpoints

    opened = open_checkpoints(place())
    try:
        yield opened
    finally:
        opened.close()
