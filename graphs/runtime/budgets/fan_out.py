"""Budgets before fan-out: what all branches or items can cost is reserved before the first of them begins.

It is one reservation, in one transaction, of which the calls in them are paid. Each in turn, in the order of the config
or of the list, has room for all its calls, else for those of small models, else for none that a cap counts; a call that
it may not make is refused as any call that does not fit the budget, so that it takes the way that it has for that. The
decision is in the state before the first of them begins, and does not depend on which is faster.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from langgraph.runtime import Runtime

from sluicegate.graphs.runtime.budgets.bounds import RouteBounds
from sluicegate.nodes.budget.draws import reservation_of
from sluicegate.services import Services
from sluicegate.state import Reserved, State

__all__ = ["FanOutBudget", "StepFunction", "account_of_budget", "release_reserved"]


class StepFunction(Protocol):
    async def __call__(self, state: State, runtime: Runtime[Services]) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class FanOutBudget:
    """The budget of one fork or for-each."""

    node: str
    bounds: RouteBounds
    members: Mapping[str, Collection[str]]
    """The nodes of each branch, by its first; of a for-each, those that are visited for an item."""
    default: Services | None = None
    """The services of a graph whose callers bring none."""

    def before(self, step: StepFunction, firsts: Sequence[str]) -> StepFunction:
        """The step of a fork, after what its branches can cost is reserved."""

        async def fork(state: State, runtime: Runtime[Services]) -> dict[str, Any]:
            update = await self.reserve(state, runtime, [(first, first, state) for first in firsts])
            return {**await step(cast("State", {**state, **update}), runtime), **update}

        return fork

    def services(self, runtime: Runtime[Services]) -> Services:
        found = cast("Services | None", runtime.context) or self.default
        assert found is not None
        return found

    async def reserve(
        self, state: State, runtime: Runtime[Services], parts: Sequence[tuple[str, str, State]]
    ) -> dict[str, Any]:
        """The update that says what was reserved, before the node's step; nothing without a cap, or where the branch
        around it is paid already. Each part is its name, its first node and the state that it begins with."""
        services = self.services(runtime)
        if state.get("reserved") or not services.ledger.capped():
            return {}
        run, visit = state["run"]["id"], state["run"]["visits"].get(self.node, 0) + 1
        # it may read an index for the first time
        bounds = await asyncio.to_thread(self._bounds, parts, services)
        intent = state.get("intent")
        made = await services.ledger.reserve_parts(
            id=reservation_of(run, self.node, visit),
            run=run,
            principal=state["principal"]["id"],
            intent=intent["label"] if intent else "",
            workflow=services.workflow.name,
            parts=bounds,
        )
        reserved: Reserved = {
            "node": self.node, "visit": visit, "usd": made.usd, "tokens": made.tokens,
            "limited": dict(made.limited), "refused": made.refused,
        }  # fmt: skip
        return {"reserved": reserved}

    def _bounds(self, parts: Sequence[tuple[str, str, State]], services: Services) -> list[Any]:
        return [
            self.bounds.of_part(first, self.members[first], begins, services).part(name)
            for name, first, begins in parts
        ]

    def part(self, state: State, name: str) -> State:
        """The state of a branch or an item."""
        reserved = state.get("reserved")
        if not reserved or reserved["node"] != self.node:
            return state
        return {**state, "reserved": {**reserved, "part": name}}

    async def release(self, state: State, runtime: Runtime[Services]) -> dict[str, Any]:
        """The update after the last branch or item has ended."""
        reserved = state.get("reserved")
        if not reserved or reserved["node"] != self.node:
            return {}
        await release_reserved(state, self.services(runtime))
        return {"reserved": None}


async def release_reserved(state: State | None, services: Services) -> None:
    """Release what a run has reserved for its branches or items and not spent: one that waits or has failed keeps no
    money from others. What it calls when it is resumed is reserved call by call."""
    if state and (reserved := state.get("reserved")):
        await services.ledger.release_parts(reservation_of(state["run"]["id"], reserved["node"], reserved["visit"]))


def account_of_budget(state: State, node: str) -> str:
    """What the trail says of branches or items without room; empty where all fit."""
    reserved = state.get("reserved")
    if not reserved or reserved["node"] != node or not reserved["limited"]:
        return ""
    said: list[str] = []
    for limit, what in (("small", "without large models"), ("free", "without calls that a cap counts")):
        names = [name for name, calls in reserved["limited"].items() if calls == limit]
        if names:
            listed = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
            said.append(f"{what}: {listed}")
    return f"{'; '.join(said)} ({reserved['refused']}); "


_NAMED = 5
"""How many branches or items are named before the others are counted."""
