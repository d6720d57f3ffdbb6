"""A workflow that is a node of another one, as its parent's node runs it: a run of its own, under its parent's.

The run's id follows from its parent's, the node and the visit, so a parent that is resumed finds it, wherever and
however it was interrupted. Its checkpoints are its own. What it puts to a person is put by its parent: the decision is
claimed once, for the run that it belongs to, and given on to the child that asks.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from contextvars import copy_context
from dataclasses import replace
from typing import Any, TypeVar, cast

from langchain_core.runnables.config import var_child_runnable_config
from langgraph.types import Command

from sluicegate.errors import NodeFailedError
from sluicegate.graphs.conditions.conditions import Condition
from sluicegate.graphs.config.models import InputConfig
from sluicegate.graphs.runtime.budgets.bounds import RouteBounds
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.graphs.runtime.run import Runner
from sluicegate.graphs.runtime.steps.streaming import sending
from sluicegate.graphs.runtime.waiting.approvals import Waiting
from sluicegate.models.structured import misfit
from sluicegate.nodes.budget.draws import draw_of
from sluicegate.nodes.kinds.human_interrupt import AskedBy, HumanVerdict, Interrupt
from sluicegate.nodes.model_governance import include
from sluicegate.services import Services
from sluicegate.state import State, question
from sluicegate.storage.run_ids import child_run

__all__ = ["NestedWorkflow"]

T = TypeVar("T")

_OF_EVERY: Mapping[str, Mapping[str, Any]] = {
    "question": {"type": "string", "minLength": 1},
    "language": {"type": "string", "pattern": "^([a-z]{2})?$"},
}
"""The schemas of what every workflow takes."""


class NestedWorkflow:
    """Implements `services.ChildWorkflow`."""

    def __init__(
        self,
        node: str,
        runner: Runner,
        bounds: RouteBounds,
        gives: Mapping[str, Condition],
        takes: Mapping[str, InputConfig],
    ) -> None:
        """`gives` is what it is given, by the names of what it `takes`, and as `question` and `language`."""
        self.node, self.runner, self._bounds, self._gives, self._takes = node, runner, bounds, gives, takes

    def bound(self, question: str) -> tuple[int, int, int, int]:
        return self._bounds.of_child(question, self.runner.services)

    async def start(self, state: State, services: Services) -> "NestedRun":
        run, facts = state["run"], services.workflow
        known_as = child_run(run["id"], self.node, run["visits"][self.node])
        intent = state.get("intent")
        own = self.runner.services
        ledger = own.ledger.within(
            services.ledger,
            run=run["id"],
            workflow=facts.name,
            intent=intent["label"] if intent else "",
            draw=draw_of(state),
        )
        runner = self.runner.serving(replace(own, ledger=ledger))
        known = await runner.call(runner.last_state, known_as)
        if known is not None:
            if run["digest"] != facts.digest:
                # its parent goes on with another version of itself, by an operator's choice
                runner = runner.migrating(known["run"]["digest"])
            return NestedRun(self.node, runner, known_as, known, new=False)
        given = {name: self._given(name, value, state) for name, value in self._gives.items()}
        inputs = {name: given[name] for name in self._takes if given.get(name) is not None}
        opening = runner.opening(
            given.get("question") or question(state),
            state["principal"],
            channel=state["request"]["channel"],
            run=known_as,
            session=run.get("conversation", ""),
            parent=run["id"],
            inputs=inputs,
        )
        if "language" in given:
            opening["request"]["language"] = given["language"]
        return NestedRun(self.node, runner, known_as, opening, new=True)

    def _given(self, name: str, expression: Condition, state: State) -> Any:
        """Raises `NodeFailedError` where there is no such value, or another than is taken."""
        value, takes = expression.result(state), self._takes.get(name)
        if value is None and takes and takes.optional:
            return None
        schema = {"type": takes.type} if takes else _OF_EVERY[name]
        if wrong := "no value" if value is None else misfit(value, schema):
            what = f"{self.node} cannot give {name!r}: {expression.text} gives {wrong}"
            raise NodeFailedError(what, hint="Give what is always there, or branch around the node")
        return value


class NestedRun:
    """Implements `services.ChildRun`."""

    def __init__(self, node: str, runner: Runner, run: str, state: State, *, new: bool) -> None:
        self._node, self._runner, self._run, self._new = node, runner, run, new
        self._state = state
        self._waiting: Waiting | None = None

    @property
    def state(self) -> State:
        return self._state

    async def run(self) -> dict[str, Any] | None:
        if self._new:
            self._new = False
            await self._on(self._runner.run_segment(self._run, self._state, self._state))
        else:
            await self._on(self._runner.resume(self._run))
        return cast("dict[str, Any]", _put_by_parent(self._node, self._waiting)) if self._waiting else None

    async def decide(self, verdict: Any) -> None:
        decided: Any = Command(resume=cast("HumanVerdict", verdict))
        await self._on(self._runner.run_segment(self._run, decided, self._state))

    async def _on(self, work: Coroutine[Any, Any, Outcome]) -> None:
        try:
            outcome = await _apart(work)
            self._state, self._waiting = outcome.state, outcome.waiting
        finally:
            # what it has spent is spent, also when it failed
            after = await self._runner.call(self._runner.last_state, self._run)
            if after and (spend := after.get("spend")):
                include(self._run, spend)


def _put_by_parent(node: str, waiting: Waiting) -> Interrupt:
    """What a child asks, as its parent asks it."""
    asked_by: AskedBy = {
        "node": node,
        "run": waiting["run"],
        "workflow": waiting["workflow"],
        "request": waiting["request"],
        "intent": waiting["intent"],
    }
    own = {key: value for key, value in waiting.items() if key in Interrupt.__annotations__}
    return cast("Interrupt", {**own, "asked_by": [asked_by, *waiting.get("asked_by", [])]})


async def _apart(work: Coroutine[Any, Any, T]) -> T:
    """Run a graph within a node as a graph of its own: LangGraph would take it for a part of the node's, with its
    checkpoints and its interrupts. Traces and the models under way are those of the node. What it writes is sent to
    nobody before its parent has it.
    """
    context = copy_context()
    context.run(var_child_runnable_config.set, None)

    async def unheard() -> T:
        with sending(None):
            return await work

    return await asyncio.create_task(unheard(), context=context)
