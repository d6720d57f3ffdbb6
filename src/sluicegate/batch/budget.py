"""The money of a block: one reservation for as many of its rows as there is room for, settled as they end.

What a call costs is kept in a ledger in memory, with the caps of single runs; the shared ledger is asked once for many
rows, and told once of what several have spent. The caps hold all the same: nothing runs that was not reserved, at the
upper bound of its whole run. A worker that is killed leaves its reservation, which stands until whoever does the block
again has booked what its rows have spent (`policies.ledger.blocks`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sluicegate.evals.evaluation.estimate import CostBounds
from sluicegate.graphs.runtime.budgets.bounds import Bound
from sluicegate.graphs.runtime.factory import Opened
from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.policies.ledger.blocks import Begun, BlockAccount, Cost
from sluicegate.policies.ledger.calls import Paid, micros, scopes
from sluicegate.policies.ledger.factory import open_ledger
from sluicegate.policies.ledger.ledger import BudgetLedger
from sluicegate.policies.ledger.rows import add, held_by
from sluicegate.services import Ledger
from sluicegate.state import State
from sluicegate.storage.database import SqliteDatabase
from sluicegate.storage.schemas import LEDGER

__all__ = ["BatchBudget", "BlockBudget", "Planned", "call_by_call"]

_NO_CAPS_OF_RUNS: dict[str, Any] = {"per_run_usd": None, "per_run_tokens": None}
_ONLY_CAPS_OF_RUNS: dict[str, Any] = {
    "per_day_usd": None,
    "per_month_usd": None,
    "per_day_tokens": None,
}


@dataclass(frozen=True, slots=True)
class Planned:
    """A row that is about to run."""

    name: str
    run: str
    asker: str
    bound: Bound
    state: State | None = None
    """Where its run is, if it has begun before."""
    resting: bool = False
    """It has ended, or waits for a person: nothing is being paid for it."""


def call_by_call(opened: Opened) -> str:
    """Why the calls of this workflow are reserved one by one, and not by blocks; empty when by blocks."""
    workflow, budget = opened.workflow, opened.workflow.config.budget
    by_others = ("per_principal_day_usd", "per_intent_day_usd", "per_principal_day_tokens")
    capped = [name for name in (*by_others, "per_principal_day_calls", "per_day_calls") if name in budget.caps]
    reasons = (
        f"`budget.{capped[0]}` is nobody's before a run knows its intent and its calls" if capped else "",
        "a call of a tool is booked before it is made" if workflow.tools else "",
        "it has workflows within it, with budgets of their own" if workflow.children else "",
        CostBounds(opened).unbounded,
    )
    return next(filter(None, reasons), "")


class BatchBudget:
    """The caps of a workflow and of one batch, over all its workers."""

    def __init__(self, opened: Opened, batch: str, max_cost: float | None) -> None:
        """`max_cost` is the cap of the batch, US dollars, over all its resumes."""
        self.batch, self._opened = batch, opened
        self._budget, self._workflow = opened.workflow.config.budget, opened.workflow.name
        self._switch = KillSwitch()
        self._outer = open_ledger(BudgetConfig(per_run_usd=max_cost))
        # its name is not the workflow's: what is spent counts once towards the workflow's own caps
        self._named = f"batch of {self._workflow}"
        self.by_calls = call_by_call(opened)
        self._shared = open_ledger(self._budget.model_copy(update=_NO_CAPS_OF_RUNS))
        self._blocks = self._within(self._shared)

    def of_calls(self, ledger: Ledger) -> Ledger:
        """The workflow's ledger, under the cap of the batch too."""
        return ledger.within(self._outer, run=self.batch, workflow=self._named, intent="")

    def of_block(self, number: int) -> "BlockBudget":
        return BlockBudget(self, f"{self.batch}/{number}")

    def account(self, id: str) -> BlockAccount:
        return BlockAccount(self._blocks, id, self._workflow)

    def in_memory(self) -> tuple[SqliteDatabase, BudgetLedger]:
        """A ledger with the caps of single runs."""
        store = SqliteDatabase(":memory:", LEDGER)
        return store, BudgetLedger(store, self._budget.model_copy(update=_ONLY_CAPS_OF_RUNS), switch=self._switch)

    def bound(self, text: str) -> Bound:
        return self._opened.bounds.of_child(text, self._opened.runner.services)

    def close(self) -> None:
        self._shared.close()
        self._outer.close()

    def _within(self, ledger: BudgetLedger) -> BudgetLedger:
        return ledger.within(self._outer, run=self.batch, workflow=self._named, intent="")


class BlockBudget:
    """One block's reservation."""

    def __init__(self, budget: BatchBudget, id: str) -> None:
        self._account = budget.account(id)
        self._store, self.ledger = budget.in_memory()
        """What the block's runs are given."""
        self._open: dict[str, Cost] = {}

    @property
    def abandoned(self) -> bool:
        """Whether a worker has died with a reservation of this block."""
        return self._account.reserved()

    async def take_over(self, rows: Sequence[Planned]) -> None:
        """Book what earlier workers have spent for these rows and not booked. The cap of a run then counts from what it
        has spent."""
        begun = [
            Begun(row.run, row.asker, _spent(row.state), _cost(row.bound), row.resting) for row in rows if row.state
        ]
        await self._account.take_over(begun)
        with self._store.writing() as execute:
            for row in begun:
                if any(row.spent):
                    add(execute, [scopes("", row.run, "", "", "", "")["run"]], spent=row.spent)

    async def reserve(self, rows: Sequence[Planned]) -> tuple[list[Planned], str]:
        """Those that there is room for, and the cap that has none for the others: a row is run as it would be alone,
        or not yet, and never without its large model for want of room."""
        given, refused = await self._account.reserve({row.name: _cost(row.bound) for row in rows})
        found = [row for row in rows if row.name in given]
        self._open = {row.name: _cost(row.bound) for row in found}
        return found, refused

    async def settle(self, ended: Sequence[Planned]) -> None:
        """Book what rows have spent that ended, and hold only what the others may need."""
        for row in ended:
            self._open.pop(row.name, None)
        usd, tokens = (sum(cost[unit] for cost in self._open.values()) for unit in (0, 1))
        await self._account.settle(self._paid([row.run for row in ended]), (usd, tokens))

    async def release(self) -> None:
        await self._account.release()

    def close(self) -> None:
        self._store.close()

    def _paid(self, runs: Sequence[str]) -> list[Paid]:
        """The calls of these runs; those of a run that has not ended are within what is held for it."""
        of_these = f"FROM calls WHERE state = 'settled' AND run IN ({', '.join('?' * len(runs))})"
        with self._store.writing() as execute:
            rows = execute(f"SELECT * {of_these}", runs)
            execute(f"DELETE {of_these}", runs)
        return [
            Paid(
                self._account.call(
                    str(row["id"]),
                    row["run"],
                    row["principal"],
                    intent=row["intent"],
                    model=row["model"],
                    bound=held_by(row),
                ),
                int(row["real_micros"]),
                int(row["real_tokens"]),
            )
            for row in rows
        ]


def _cost(bound: Bound) -> Cost:
    return bound.micros, bound.tokens


def _spent(state: State) -> Cost:
    spend = state.get("spend")
    return (micros(spend["usd"], up=True), spend["prompt_tokens"] + spend["completion_tokens"]) if spend else (0, 0)
