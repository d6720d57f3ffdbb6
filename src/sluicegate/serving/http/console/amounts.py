"""Filters of templates that show what is recorded: times, money, tokens, long texts."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from sluicegate.observe.views.tree import money, short, timing
from sluicegate.serving.records.costs import DayCost

__all__ = ["FILTERS", "amount_of"]


def amount_of(amount: float, unit: str) -> str:
    """Of ``usd``, or of a number of ``tokens`` or ``calls``."""
    if unit != "usd":
        return f"{amount:,.0f}"
    if amount >= 0.1:
        return f"${amount:,.2f}"
    whole, _, part = f"{amount:.6f}".rstrip("0").partition(".")
    return f"${whole}.{part:0<2}"


def _day_cost(cost: DayCost, unit: str) -> str:
    return amount_of(cost.tokens if unit == "tokens" else cost.usd, unit)


def _at(ns: int) -> str:
    """A time in nanoseconds as other filters take it."""
    return datetime.fromtimestamp(ns / 1e9, UTC).isoformat(timespec="seconds")


def _brief(text: str, most: int) -> str:
    """A text in one line, cut."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


FILTERS: Mapping[str, Callable[..., Any]] = {
    "amount": _day_cost,
    "at": _at,
    "brief": _brief,
    "money": money,
    "of_cap": amount_of,
    "short": short,
    "timing": timing,
}
