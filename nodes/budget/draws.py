"""What the calls of branches and items are paid of: the reservation that was made before the first of them began."""

from sluicegate.services import Allowed, Draw
from sluicegate.state import State

__all__ = ["draw_of", "reservation_of"]


def reservation_of(run: str, node: str, visit: int) -> str:
    """The id of what was reserved for the branches or items of a visit, the same whenever it is asked for."""
    return f"{run}/{node}#{visit}"


def draw_of(state: State) -> Draw | None:
    """What calls in this state are paid of; None outside of branches and items, and without a cap."""
    reserved = state.get("reserved")
    if not reserved or "part" not in reserved:
        return None
    allowed: Allowed = reserved["limited"].get(reserved["part"]) or "all"
    return Draw(reservation_of(state["run"]["id"], reserved["node"], reserved["visit"]), allowed, reserved["refused"])
