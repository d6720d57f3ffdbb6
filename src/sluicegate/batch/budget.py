"""The money of a block: one reservation for as many of its rows as there is room for, settled as they end.

What a call costs is kept in a ledger in memory, with the caps of single runs; the shared ledger is asked once for many
rows, and told once of what several have spent. The caps hold all the same: nothing runs that was not reserved, at the
upper bound of its whole run. A worker that is killed leaves its reservation: whoever does the block again books first
what the rows have spent that the ledger was not told of, and for a row in the middle of its run all that it could have.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sluicegate.evals.evaluation.estimate import CostBounds
from sluicegate.graphs.runtime.budgets.bounds import Bound
from sluicegate.graphs.runtime.factory import Opened
from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.policies.ledger.calls import Call, Paid, scopes
from sluicegate.policies.ledger.factory import open_ledger
from sluicegate.policies.ledger.ledger import BudgetLedger, micros
from sluicegate.policies.ledger.rows import add
from sluicegate.services import Amount, Ledger
from sluicegate.state import State
from sluicegate.storage.database import SqliteDatabase
from sluicegate.storage.schemas import LEDGER

__all__ = ["BatchBudget", "BlockBudget", "Planned", "call_by_call"]

_LOST = "killed-worker"
"""What reports name in the place of a model for what a killed worker has spent."""
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
        self.blocks = self._within(self._shared)

    def of_calls(self, ledger: Ledger) -> Ledger:
        """The workflow's ledger, under the cap of the batch too."""
        return ledger.within(self._outer, run=self.batch, workflow=self._named, intent="")

    def of_block(self, number: int) -> "BlockBudget":
        return BlockBudget(self, f"{self.batch}/{number}")

    @property
    def lease_s(self) -> float:
        """How long a reservation holds that nobody renews."""
        return self._budget.lease_s

    def in_memory(self) -> tuple[SqliteDatabase, BudgetLedger]:
        """A ledger with the caps of single runs."""
        store = SqliteDatabase(":memory:", LEDGER)
        return store, BudgetLedger(store, self._budget.model_copy(update=_ONLY_CAPS_OF_RUNS), switch=self._switch)

    def bound(self, text: str) -> Bound:
        return self._opened.bounds.of_child(text, self._opened.runner.services)

    def call(self, id: str, run: str, asker: str, **about: Any) -> Call:
        within = ((self._named, self.batch, ""),)
        return Call(id, self._workflow, run, asker, within=within, **about)

    async def reserve(self, id: str, rows: Sequence[Planned]) -> tuple[list[Planned], str]:
        """Those that there is room for, and the cap that has none for the others."""
        parts = [row.bound.part(row.name) for row in rows]
        made = await self.blocks.reserve_parts(
            id=id,
            run=id,
            principal="",
            intent="",
            workflow=self._workflow,
            # a row is run as it would be alone, or not yet: never without its large model for want of room
            parts=[type(part)(part.name, part.all, part.all) for part in parts],
        )
        return [row for row in rows if row.name not in made.limited], made.refused

    def close(self) -> None:
        self._shared.close()
        self._outer.close()

    def _within(self, ledger: BudgetLedger) -> BudgetLedger:
        return ledger.within(self._outer, run=self.batch, workflow=self._named, intent="")


class BlockBudget:
    """One block's reservation."""

    def __init__(self, budget: BatchBudget, id: str) -> None:
        self._budget, self._id = budget, id
        self._store, self.ledger = budget.in_memory()
        """What the block's runs are given."""
        self._open: dict[str, Planned] = {}

    @property
    def abandoned(self) -> bool:
        """Whether a worker has died with a reservation of this block."""
        return self._budget.blocks.parts_left(self._id)

    async def take_over(self, rows: Sequence[Planned], *, killed: bool) -> None:
        """Book what earlier workers have spent for these rows and not booked. Where one was `killed`, a run that has
        not ended counts as all that it could have spent: nobody knows of the call that it was at. The cap of a run
        then counts from what it has spent."""
        booked = self._budget.blocks.spent_by([row.run for row in rows])
        lost: list[Paid] = []
        for row in rows:
            if row.state is None:
                continue
            spend = row.state.get("spend")
            usd = micros(spend["usd"], up=True) if spend else 0
            tokens = spend["prompt_tokens"] + spend["completion_tokens"] if spend else 0
            if killed and not row.resting:
                usd, tokens = max(usd, row.bound.micros), max(tokens, row.bound.tokens)
            before = booked[row.run]
            usd, tokens = max(0, usd - before[0]), max(0, tokens - before[1])
            if usd or tokens:
                # one that dies twice has spent twice
                once = f"{self._id}/{row.run}/{before[0]}/{before[1]}"
                call = self._budget.call(once, row.run, row.asker, intent="", model=_LOST, micros=usd, tokens=tokens)
                lost.append(Paid(call, usd, tokens))
        if lost:
            await self._budget.blocks.settle_parts(self._id, lost, Amount())
        with self._store.writing() as execute:
            for row in rows:
                if row.state and (spend := row.state.get("spend")):
                    tokens = spend["prompt_tokens"] + spend["completion_tokens"]
                    add(execute, [scopes("", row.run, "", "", "", "")["run"]], spent=(micros(spend["usd"]), tokens))

    async def reserve(self, rows: Sequence[Planned]) -> tuple[list[Planned], str]:
        """As `BatchBudget.reserve`."""
        found, refused = await self._budget.reserve(self._id, rows)
        self._open = {row.name: row for row in found}
        return found, refused

    async def settle(self, ended: Sequence[Planned]) -> None:
        """Book what rows have spent that ended, and hold only what the others may need; its lease begins anew."""
        for row in ended:
            self._open.pop(row.name, None)
        left = Amount(
            sum(row.bound.micros for row in self._open.values()) / 1_000_000,
            sum(row.bound.tokens for row in self._open.values()),
        )
        await self._budget.blocks.settle_parts(self._id, self._paid([row.run for row in ended]), left)

    async def release(self) -> None:
        await self._budget.blocks.release_parts(self._id)

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
                self._budget.call(
                    str(row["id"]),
                    row["run"],
                    row["principal"],
                    intent=row["intent"],
                    model=row["model"],
                    micros=int(row["estimated_micros"]),
                    tokens=int(row["estimated_tokens"]),
                ),
                int(row["real_micros"]),
                int(row["real_tokens"]),
            )
            for row in rows
        ]
