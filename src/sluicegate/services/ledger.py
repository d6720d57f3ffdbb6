"""Money and tokens: reserved, spent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

__all__ = ["Allowed", "Amount", "Draw", "FanOut", "Ledger", "Part", "Refusal", "Reservation"]


@dataclass(frozen=True, slots=True)
class Reservation:
    id: str
    usd: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a reservation was refused; `limit` names the cap or the switch, as a message."""

    code: Literal["SG501", "SG502"]
    limit: str


@dataclass(frozen=True, slots=True)
class Amount:
    """The upper bound of some calls."""

    usd: float = 0.0
    tokens: int = 0


Allowed = Literal["all", "small", "free"]
"""The calls that a branch or an item may make: ``all``; ``small``: of large models only those that no cap counts;
``free``: only those that no cap counts."""


@dataclass(frozen=True, slots=True)
class Part:
    """A branch or an item, before it begins."""

    name: str
    all: Amount
    small: Amount
    """Without its calls of large models."""


@dataclass(frozen=True, slots=True)
class FanOut:
    """What was reserved for branches or items before the first of them began."""

    usd: float = 0.0
    tokens: int = 0
    limited: Mapping[str, Literal["small", "free"]] = field(default_factory=dict[str, Literal["small", "free"]])
    """The parts whose bounds had no room, and the calls that they may make; the others may make all."""
    refused: str = ""
    """The cap that had no room, as a message; empty where all parts fit."""


@dataclass(frozen=True, slots=True)
class Draw:
    """What the calls of a branch or an item are paid of."""

    reservation: str
    allowed: Allowed = "all"
    refused: str = ""
    """Why not all calls are allowed."""


class Ledger(Protocol):
    async def reserve(
        self,
        *,
        run: str,
        principal: str,
        intent: str,
        workflow: str,
        model: str,
        usd: float,
        tokens: int,
        size: Literal["slm", "llm"] = "slm",
        call: str = "",
        draw: Draw | None = None,
    ) -> Reservation | Refusal:
        """Set aside the upper bound of a call, atomically across processes.

        In branches and items it is taken of what `draw` was reserved; what goes beyond that needs room under the caps
        as any other call does. `call` names it within its run: one that is repeated after a crash takes the place of
        the first.
        """
        ...

    def capped(self) -> bool:
        """Whether there is any cap on what a run spends, of its own workflow or of one around it."""
        ...

    async def reserve_parts(
        self, *, id: str, run: str, principal: str, intent: str, workflow: str, parts: Sequence[Part]
    ) -> FanOut:
        """Set aside the upper bounds of branches or items, in one transaction, each in turn if there is room for it
        beside those before it: all its calls, or those of small models. Repeating it replaces what was set aside."""
        ...

    async def release_parts(self, id: str) -> None:
        """Release what is left of `reserve_parts`, and what calls hold of it that nobody will settle. Repeating it
        changes nothing."""
        ...

    async def charge(
        self, *, id: str, run: str, principal: str, intent: str, workflow: str, tool: str, usd: float
    ) -> Reservation | Refusal:
        """Book the call of a tool at its price before it is made, once for each `id`: repeating it changes nothing.

        The price is known beforehand, so there is nothing to settle: whatever kills the process after this, a call that
        may have been made is paid for.
        """
        ...

    async def refund(self, reservation: Reservation) -> None:
        """Take back a charge for a call that was certainly not made. Repeating it changes nothing."""
        ...

    def switched(self, *, model: str, intent: str, workflow: str) -> Refusal | None:
        """SG502 when the kill switch forbids a call, free or not; a few microseconds, nothing is written."""
        ...

    async def settle(self, reservation: Reservation, *, usd: float, tokens: int) -> None:
        """Replace the reserved amount by the real cost of the call. Repeating it changes nothing."""
        ...

    def within(self, outer: "Ledger", *, run: str, workflow: str, intent: str, draw: Draw | None = None) -> "Ledger":
        """This one, for a run within another: what it spends counts in the outer one's budgets too, as that run's of
        that workflow and intent, and must be allowed by both. `draw` is that of the step it is within."""
        ...

    async def release(self, reservation: Reservation) -> None:
        """Release a reservation unspent. Repeating it changes nothing."""
        ...
