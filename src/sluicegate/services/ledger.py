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
    """Why a reservation was not made; `limit` names the cap or the switch, for people."""

    code: Literal["SG501", "SG502"]
    limit: str


class Ledger(Protocol):
    async def reserve(
        self, *, run: str, principal: str, intent: str, workflow: str, model: str, usd: float, tokens: int
    ) -> Reservation | Refusal:
        """Set aside the upper bound of a call, atomically across processes."""
        ...

    def switched(self, *, model: str, intent: str, workflow: str) -> Refusal | None:
        """SG502 when the kill switch forbids a call whatever it costs; a few microseconds, nothing is written."""
        ...

    async def settle(self, reservation: Reservation, *, usd: float, tokens: int) -> None:
        """Replace the reserved amount by what the call really cost. Repeating it changes nothing."""
        ...

    async def release(self, reservation: Reservation) -> None:
        """Give a reservation back unspent. Repeating it changes nothing."""
        ...
