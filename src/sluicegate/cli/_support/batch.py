"""What a batch may cost, said before it starts; more than the day's budget has left is refused."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sluicegate.cli._support.console import notes

if TYPE_CHECKING:
    from sluicegate.evals.evaluation.estimate import Estimate
    from sluicegate.graphs.config.load import Workflow
    from sluicegate.graphs.runtime.factory import Opened
    from sluicegate.state import Principal

__all__ = ["OverBudget", "before_it_starts", "left_of_the_day", "texts_of", "told"]

OverBudget = Annotated[
    bool, typer.Option("--over-budget", help="Start although it may cost more than the budget has left.")
]


def before_it_starts(
    opened: "Opened", texts: Sequence[str], *, left: float | None, of: str, over: bool = False
) -> None:
    """Say the upper bound of a batch that costs money.

    Raises `BudgetError` SG503 where `left` is less, unless `over`.
    """
    from sluicegate.evals.evaluation.estimate import Bounds, estimate, must_fit

    found = estimate(Bounds(opened), texts)
    if found.usd != 0:
        notes().print(told(found, left), markup=False, soft_wrap=True)
    if not over:
        must_fit(found, left, of=of)


def told(found: "Estimate", left: float | None) -> str:
    """In one line."""
    if found.usd is None:
        return f"{found.requests} requests: what they may cost is bounded by {found.by}"
    cost = f"{found.requests} requests cost at most ${found.usd:.4f}, bounded by {found.by}"
    return cost if left is None else f"{cost}; the day's budget has ${max(left, 0.0):.4f} left"


def left_of_the_day(workflow: "Workflow") -> float | None:
    """US dollars that `per_day_usd` leaves of today; None without that cap."""
    from sluicegate.policies.ledger.factory import open_ledger

    caps = open_ledger(workflow.config.budget, look=True).caps(workflow.name)
    return next((cap.left for cap in caps if cap.name == "per_day_usd"), None)


def texts_of(requests: "Sequence[tuple[str | bytes, Principal]]") -> list[str]:
    return [raw if isinstance(raw, str) else raw.decode(errors="replace") for raw, _ in requests]
