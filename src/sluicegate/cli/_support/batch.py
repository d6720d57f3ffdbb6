"""The upper bound of what a batch costs, shown before it starts; refused when the day's budget has less left."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sluicegate.cli._support.console import notes

if TYPE_CHECKING:
    from sluicegate.evals.evaluation.estimate import BatchCost
    from sluicegate.graphs.config.load import Workflow
    from sluicegate.graphs.runtime.factory import Opened
    from sluicegate.state import Principal

__all__ = ["OverBudget", "before_it_starts", "cost_line", "left_of_the_day", "texts_of"]

OverBudget = Annotated[
    bool, typer.Option("--over-budget", help="Start even if it may cost more than the budget has left.")
]


def before_it_starts(
    opened: "Opened", texts: Sequence[str], *, left: float | None, of: str, over: bool = False
) -> None:
    """Print the upper bound of what a batch costs.

    Raises `BudgetError` SG503 where `left` is less, unless `over`.
    """
    from sluicegate.evals.evaluation.estimate import CostBounds, estimate, must_fit

    found = estimate(CostBounds(opened), texts)
    if found.usd != 0:
        notes().print(cost_line(found, left), markup=False, soft_wrap=True)
    if not over:
        must_fit(found, left, of=of)


def cost_line(found: "BatchCost", left: float | None) -> str:
    """The bound as one line."""
    if found.usd is None:
        return f"{found.requests} requests: cost bounded by {found.by}"
    cost = f"{found.requests} requests cost at most ${found.usd:.4f}, bounded by {found.by}"
    return cost if left is None else f"{cost}; the day's budget has ${max(left, 0.0):.4f} left"


def left_of_the_day(workflow: "Workflow") -> float | None:
    """US dollars that `per_day_usd` leaves of today; None without that cap."""
    from sluicegate.policies.ledger.factory import open_ledger

    caps = open_ledger(workflow.config.budget, look=True).caps(workflow.name)
    return next((cap.left for cap in caps if cap.name == "per_day_usd"), None)


def texts_of(requests: "Sequence[tuple[str | bytes, Principal]]") -> list[str]:
    return [raw if isinstance(raw, str) else raw.decode(errors="replace") for raw, _ in requests]
