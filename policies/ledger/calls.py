"""What the ledger books: a call, the limits that apply to it, and the keys of the totals that it counts towards."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal, NamedTuple

__all__ = ["SLACK_S", "TOOL", "Call", "Limit", "Over", "Paid", "Unit", "calendar", "micros", "outer_scope", "scopes"]

Unit = Literal["usd", "tokens", "calls"]
"""Of caps: micro-dollars, tokens, or calls of tools."""

TOOL = "tool:"
"""What the ledger names in the place of a model begins with this when it is a tool."""

SLACK_S = 300.0
"""How far a clock may step back without harm: as far as time servers correct it in normal running."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call to be made, at its upper bound."""

    id: str
    workflow: str
    run: str
    principal: str
    intent: str
    model: str
    micros: int
    """Whole micro-dollars."""
    tokens: int
    within: tuple[tuple[str, str, str], ...] = ()
    """Workflow, run and intent of each run that its own lies within, the outermost first."""
    drawn_on: str = ""
    """The reservation for branches or items that it is paid of; empty for none."""
    of_tool: bool = False
    """Whether a tool is called, and not a model."""

    def scopes(self, day: str, month: str) -> dict[str, str]:
        """The keys of the totals that it counts towards, by the scopes of limits."""
        found = scopes(self.workflow, self.run, self.principal, self.intent, day, month)
        for depth, (workflow, run, intent) in enumerate(self.within):
            keys = scopes(workflow, run, self.principal, intent, day, month)
            found |= {outer_scope(scope, depth): key for scope, key in keys.items()}
        return found


def micros(usd: float, *, up: bool = False) -> int:
    """Whole micro-dollars, rounded to the nearest or up. Rounds the decimal form of `usd`, not its binary value."""
    amount = Decimal(repr(float(usd))) * 1_000_000
    return math.ceil(amount) if up else int(amount.to_integral_value())


class Paid(NamedTuple):
    """A call that was made, at what it really cost."""

    call: Call
    micros: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Limit:
    """One cap that applies to a call, in whole micro-dollars or tokens."""

    name: str
    scope: str
    """Which of `scopes` it limits."""
    of: str
    unit: Unit
    limit: int

    def asked(self, call: Call) -> int:
        return int(call.of_tool) if self.unit == "calls" else call.micros if self.unit == "usd" else call.tokens

    def refusal(self, used: int, asked: int) -> str:
        """Why a call is refused, as a message."""

        def show(amount: int) -> str:
            if self.unit == "usd":
                return f"${amount / 1_000_000:.6f}"
            return "1 call" if (self.unit, amount) == ("calls", 1) else f"{amount} {self.unit}"

        of = f" of {self.of}" if self.of and self.scope != "run" else ""
        return f"{self.name}{of}: {show(used)} of {show(self.limit)} used or reserved, {show(asked)} requested"


@dataclass(frozen=True, slots=True)
class Over:
    """Why a call is not booked."""

    limit: Limit | None
    """None when the clock cannot be trusted."""
    used: int = 0
    latest: float = 0.0
    """The latest time that the ledger has seen."""


def outer_scope(scope: str, depth: int) -> str:
    """The scope of a run that a call's lies within; depth 0 is the outermost."""
    return f"{scope} {depth}"


def calendar(now: float) -> tuple[str, str]:
    """The UTC day and month of a time, as ``2026-11-23`` and ``2026-11``."""
    day = datetime.fromtimestamp(now, UTC).date().isoformat()
    return day, day[:7]


def scopes(workflow: str, run: str, principal: str, intent: str, day: str, month: str) -> dict[str, str]:
    """The keys of the totals that a call counts towards. Names are quoted so that no two keys can be spelt alike.

    All but the first end with the day or the month.
    """
    return {
        "run": f"run {run!r}",
        "principal": f"principal {workflow!r} {principal!r} {day}",
        "intent": f"intent {workflow!r} {intent!r} {day}",
        "day": f"day {workflow!r} {day}",
        "month": f"month {workflow!r} {month}",
    }
