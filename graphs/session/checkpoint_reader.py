"""Recorded runs, read from their checkpoints without opening their workflows."""

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
    """The run with this id or unique prefix. Raises `RunError` SG603 when none or several match."""
    with _checkpoints() as checkpoints:
        found = checkpoints.beginning(start) if start else ()
    if start in found:
        return start
    if len(found) != 1:
        what = f"several runs start with {start!r}" if found else f"no run {start!r}"
        raise NotFoundError(what, hint="List waiting runs: sluicegate approvals list; all runs: sluicegate trace list")
    return found[0]


def all_waiting(workflow: str = "") -> list[Run]:
    """The waiting runs, shadow runs left out, longest-waiting first."""
    with _checkpoints() as checkpoints:
        found = [_state(checkpoints, thread)["run"] for thread in checkpoints.interrupted()]
    return [run for run in found if not run["shadow"] and workflow in ("", run["workflow"])]


def left_at_home() -> int:
    """How many runs wait in the home from before the server's URL was set."""
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
        raise CorruptError(f"cannot read the checkpoint of run {run}: {error}") from error
    values = found.checkpoint["channel_values"] if found else {}
    if "run" not in values:
        raise NotFoundError(f"no run {run} in this home", hint="List all runs: sluicegate trace list")
    return cast("State", values)


@contextmanager
def _checkpoints() -> "Generator[Checkpoints]":
    from sluicegate.graphs.runtime.checkpoints import open_checkpoints

    opened = open_checkpoints(place())
    try:
        yield opened
    finally:
        opened.close()
