"""Money and tokens: reserved before a call, settled after it."""

from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = ["Ledger", "Refusal", "Reservation"]


@dataclass(frozen=True, slots=True)
class Reservation:
    id: str
    usd: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a reservation was refused; `limit` names the cap or the switch, as a message."""

    code: Literal["SG501", "SG502"]
    limit: str


class Ledger(Protocol):
    async def reserve(
        self, *, run: str, principal: str, intent: str, workflow: str, model: str, usd: float, tokens: int
    ) -> Reservation | Refusal:
        """Set aside the upper bound of a call, atomically across processes."""
        ...

    def switched(self, *, model: str, intent: str, workflow: str) -> Refusal | None:
        """SG502 when the kill switch forbids a call, free or not; a few microseconds, nothing is written."""
        ...

    async def settle(self, reservation: Reservation, *, usd: float, tokens: int) -> None:
        """Replace the reserved amount by the real cost of the call. Repeating it changes nothing."""
        ...

    def within(self, outer: "Ledger", *, run: str, workflow: str, intent: str) -> "Ledger":
        """This one, for a run within another: what it spends counts in the outer one's budgets too, as that run's of
        that workflow and intent, and must be allowed by both."""
        ...

    async def release(self, reservation: Reservation) -> None:
        """Release a reservation unspent. Repeating it changes nothing."""
        ...
