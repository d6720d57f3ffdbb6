"""Recorded runs, read from their checkpoints without opening their workflows."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from sluicegate.errors import CorruptError, NotFoundError, NotWaitingError, RunError
from sluicegate.home import home
from sluicegate.state import Run, State
from sluicegate.storage.database import place

if TYPE_CHECKING:
    from langgraph.checkpoint.base import CheckpointTuple

    from sluicegate.graphs.runtime.checkpoints import Checkpoints

__all__ = ["all_waiting", "full_id", "left_at_home", "overdue", "recorded"]

log = logging.getLogger(__name__)


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
        found = [_state(checkpoints, thread)["run"] for thread in checkpoints.interrupted(workflow)]
    return [run for run in found if not run["shadow"] and workflow in ("", run["workflow"])]


def overdue(workflow: str, now: datetime) -> list[Run]:
    """The waiting runs of a workflow that nobody has decided on in time.

    A run is read when it has begun to wait and when its deadline has passed; those that wait in between cost nothing.
    """
    with _checkpoints() as checkpoints:
        for thread in checkpoints.unscheduled():
            try:
                checkpoints.schedule(thread, *_scheduled(checkpoints, thread))
            except RunError as error:
                # decided while it was looked at, or unreadable, which whoever asks for it is told
                log.warning("waiting run %s has no deadline yet: %s", thread, error.code)
        late = checkpoints.overdue(workflow, now.astimezone(UTC).isoformat())
        found = [_state(checkpoints, thread)["run"] for thread in late]
    return [run for run in found if not run["shadow"]]


def _scheduled(checkpoints: "Checkpoints", run: str) -> tuple[str, str]:
    """The workflow of a waiting run, and its deadline."""
    from sluicegate.graphs.runtime.approvals import deadline

    found = _loaded(checkpoints, run)
    shown = [
        write[0].value for _, channel, write in (found and found.pending_writes) or () if channel == "__interrupt__"
    ]
    if found is None or not shown:
        raise NotWaitingError(f"run {run} is not waiting for a decision")
    until = datetime.fromisoformat(deadline(shown[0]["asked_at"], shown[0]["timeout_s"])).astimezone(UTC)
    return found.checkpoint["channel_values"]["run"]["workflow"], until.isoformat()


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


def _loaded(checkpoints: "Checkpoints", run: str) -> "CheckpointTuple | None":
    try:
        return checkpoints.get_tuple({"configurable": {"thread_id": run}})
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"cannot read the checkpoint of run {run}: {error}") from error


def _state(checkpoints: "Checkpoints", run: str) -> State:
    found = _loaded(checkpoints, run)
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
