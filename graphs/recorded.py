"""What this home has recorded of a run, read from its checkpoints without opening its workflow."""

from typing import cast

from sluicegate.errors import RunError
from sluicegate.home import home
from sluicegate.state import State

__all__ = ["recorded"]


def recorded(run: str) -> State:
    """The last state of a run. Raises `RunError` SG603 (no such run), SG606 (corrupt)."""
    from sluicegate.graphs.checkpoints import SqliteCheckpoints

    path = home() / "checkpoints.sqlite"
    checkpoints = SqliteCheckpoints(path)
    try:
        found = checkpoints.get_tuple({"configurable": {"thread_id": run}})
    except (ValueError, KeyError, TypeError) as error:
        raise RunError("SG606", f"the checkpoint of run {run} cannot be read: {error}") from error
    finally:
        checkpoints.close()
    values = found.checkpoint["channel_values"] if found else {}
    if "run" not in values:
        raise RunError("SG603", f"no run {run} in this home", mend="List runs with: sluicegate trace list")
    return cast("State", values)
