"""Recorded runs, read from their checkpoints without opening their workflows."""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from sluicegate.errors import CorruptError, NotFoundError, RunError
from sluicegate.home import home
from sluicegate.state import Run, State
from sluicegate.storage.database import place

if TYPE_CHECKING:
    from langgraph.checkpoint.base import CheckpointTuple

    from sluicegate.graphs.runtime.checkpoints import Checkpoints
    from sluicegate.graphs.runtime.waiting.approvals import Waiting
    from sluicegate.nodes.kinds.human_interrupt import Interrupt

__all__ = [
    "ApprovalState",
    "all_waiting",
    "approval_state",
    "asks",
    "full_id",
    "left_at_home",
    "overdue",
    "questions",
    "recorded",
    "schedule_waiting",
]

log = logging.getLogger(__name__)


def recorded(run: str) -> State:
    """The last state of a run. Raises `RunError` SG603 (no such run), SG606 (corrupt)."""
    with _checkpoints() as checkpoints:
        return _state(checkpoints, run)


@dataclass(frozen=True, slots=True)
class ApprovalState:
    """A run, and what people were last asked about it."""

    state: State
    question: "Waiting | None"
    """None: nothing was ever put to a person."""
    open: bool
    """It still waits for the decision."""


def approval_state(run: str) -> ApprovalState:
    """Raises as `recorded` does."""
    with _checkpoints() as checkpoints:
        return _approval_state(checkpoints, run)


def asks(run: str) -> bool:
    """Whether a run waits for its requester's answer."""
    try:
        asked = approval_state(run)
    except NotFoundError:
        return False
    return asked.open and asked.question is not None and asked.question["waits_for"] == "answer"


def questions(
    workflow: str, after: str, limit: int, concerns: "Callable[[Interrupt], bool]" = lambda _: True
) -> Generator[tuple[str, ApprovalState | None]]:
    """What waits for people, longest-waiting first, from behind the cursor `after` on: each with the cursor behind it;
    None for one that cannot be read, and for one that does not concern the reader, of whose state nothing is read. Not
    more than `limit` runs are looked at."""
    with _checkpoints() as checkpoints:
        for cursor, run in checkpoints.interrupts.after(after, workflow, limit):
            try:
                last = checkpoints.last_interrupt(run)
                yield cursor, _approval_state(checkpoints, run) if last and concerns(last) else None
            except RunError as error:
                log.warning("waiting run %s cannot be shown: %s", run, error.code)
                yield cursor, None


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
        found = [_state(checkpoints, thread)["run"] for thread in checkpoints.interrupts.threads(workflow)]
    return [run for run in found if not run["shadow"] and workflow in ("", run["workflow"])]


def overdue(workflow: str, now: datetime) -> list[Run]:
    """The waiting runs of a workflow that nobody has decided on in time.

    A run is read when it has begun to wait and when its deadline has passed; those that wait in between cost nothing.
    """
    schedule_waiting()
    with _checkpoints() as checkpoints:
        late = checkpoints.interrupts.overdue(workflow, now.astimezone(UTC).isoformat())
        found = [_state(checkpoints, thread)["run"] for thread in late]
    return [run for run in found if not run["shadow"]]


def schedule_waiting(workflow: str = "", timed: "Callable[[Waiting], None]" = lambda _: None) -> None:
    """Note workflow and deadline of what has begun to wait, and first tell `timed` of it; of one workflow where it is
    named. Raises what `timed` raises."""
    with _checkpoints() as checkpoints:
        for thread in checkpoints.interrupts.unscheduled():
            try:
                asked = _approval_state(checkpoints, thread)
            except RunError as error:
                # unreadable, which whoever asks for it is told
                log.warning("waiting run %s has no deadline yet: %s", thread, error.code)
                continue
            if not (asked.open and asked.question):
                continue  # decided while it was looked at
            if workflow not in ("", asked.question["workflow"]):
                continue
            if not asked.state["run"]["shadow"]:
                timed(asked.question)
            until = datetime.fromisoformat(asked.question["deadline"]).astimezone(UTC)
            checkpoints.interrupts.schedule(thread, asked.question["workflow"], until.isoformat())


def _approval_state(checkpoints: "Checkpoints", run: str) -> ApprovalState:
    from sluicegate.graphs.runtime.waiting.approvals import put_to_people

    found = _loaded(checkpoints, run)
    state = _state_of(found, run)
    pending = [channel for _, channel, _ in (found and found.pending_writes) or ()]
    last = checkpoints.last_interrupt(run)
    return ApprovalState(state, put_to_people(state, last) if last else None, "__interrupt__" in pending)


def left_at_home() -> int:
    """How many runs wait in the home from before the server's URL was set."""
    from sluicegate.graphs.runtime.checkpoints import SqliteCheckpoints

    path = home() / "checkpoints.sqlite"
    if place() == home() or not path.is_file():
        return 0
    checkpoints = SqliteCheckpoints(path)
    try:
        return len(checkpoints.interrupts.threads())
    finally:
        checkpoints.close()


def _loaded(checkpoints: "Checkpoints", run: str) -> "CheckpointTuple | None":
    try:
        return checkpoints.get_tuple({"configurable": {"thread_id": run}})
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"cannot read the checkpoint of run {run}: {error}") from error


def _state(checkpoints: "Checkpoints", run: str) -> State:
    return _state_of(_loaded(checkpoints, run), run)


def _state_of(found: "CheckpointTuple | None", run: str) -> State:
    values = found.checkpoint["channel_values"] if found else {}
    # interrupted before its first node: its initial state is still pending
    values = values if "run" in values else values.get("__start__") or {}
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
