"""Runs the branches of a fork, and puts together what they have done.

A branch is a graph under a node of the graph around it. LangGraph runs such nodes side by side and gives each graph
checkpoints of its own, so that after a crash a branch goes on from its own last step. It works on a copy of the state;
at the join, `merging` makes one state of the copies.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphBubbleUp
from langgraph.runtime import Runtime

from sluicegate.graphs.proofs.flow import ON_ERROR, FlowNode
from sluicegate.graphs.runtime.budgets.fan_out import FanOutBudget
from sluicegate.graphs.runtime.steps.merging import changes, merged, without_results
from sluicegate.services import Services
from sluicegate.state import Branch, BranchEnd, Failure, State, TrailEntry

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

__all__ = ["FAILED", "ForkRun", "error_branch"]

_Running: TypeAlias = dict[str, asyncio.Task[Any]]

FAILED = ""
"""Where a node goes that fails for good in a branch whose fork has an error branch: the branch ends."""


def error_branch(node: FlowNode, failure: Failure) -> Branch:
    """The decision of a node that failed."""
    to = node.on_error.to if node.on_error else FAILED
    values = {f"failure.{key}": failure[key] for key in ("cause", "code")}
    reason = f"{failure['code']} {failure['reason']}"
    return {"to": to, "condition": ON_ERROR, "values": values, "skipped": [], "reason": reason}


class BranchFunction(Protocol):
    async def __call__(self, state: State, config: RunnableConfig, runtime: Runtime[Services]) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class ForkRun:
    """One fork of a compiled workflow."""

    node: FlowNode
    within: str
    """The branches around it, each as ``FORK/FIRST_NODE/``."""
    budget: FanOutBudget
    running: dict[str, _Running] = field(default_factory=dict[str, _Running])
    """The branches under way, by the place of the fork in its run."""

    def branch(self, first: str) -> str:
        """The name of a branch's node in the graph."""
        return f"{self.node.name}/{first}"

    @property
    def joining(self) -> str:
        """The name of the node that puts the branches together."""
        return f"{self.node.name}/"

    def run(self, first: str, graph: "CompiledStateGraph[State, Services, State, State]") -> BranchFunction:
        """The node of a branch."""
        name = self.branch(first)

        async def run(state: State, config: RunnableConfig, runtime: Runtime[Services]) -> dict[str, Any]:
            services = self.budget.services(runtime)
            begins: State = {**self.budget.part(state, first), "trail": [], "branches": {}}
            tracer, visit = services.tracer, state["run"]["visits"][self.node.name]
            with tracer.beneath(self.node.name, visit), tracer.span(name, "chain", fork=self.node.name, branch=first):
                work = graph.ainvoke(begins, config, context=services)
                after = await self._among_siblings(name, config, work)
            if after is None:
                return {"branches": {name: BranchEnd(end="stopped", changes=await self._so_far(begins, graph, config))}}
            end: BranchEnd = {"end": "failed" if _failed(after) else "joined", "changes": changes(begins, after)}
            return {"branches": {name: end}}

        return run

    async def _among_siblings(self, name: str, config: RunnableConfig, work: Any) -> State | None:
        """The state at the end of a branch; None where it was stopped, since a sibling failed."""
        place = _place(config)
        running = self.running.setdefault(place, {})
        running[name] = task = asyncio.ensure_future(work)
        try:
            after = cast("State", await task)
        except asyncio.CancelledError:
            if running.get(name) is not task:
                return None
            raise
        except GraphBubbleUp:
            raise
        except Exception:
            running.pop(name, None)
            if self.node.siblings == "await" and running:
                await asyncio.wait(running.values())
            raise
        finally:
            running.pop(name, None)
            if not running:
                self.running.pop(place, None)
        if _failed(after) and self.node.siblings == "cancel":
            for sibling in [*running]:
                running.pop(sibling).cancel()
        return after

    async def _so_far(
        self, begins: State, graph: "CompiledStateGraph[State, Services, State, State]", config: RunnableConfig
    ) -> dict[str, Any]:
        """What a branch had done when it was stopped."""
        after = cast("State", (await graph.aget_state(config)).values)
        return changes(begins, after) if "run" in after else {}

    async def join(self, state: State, runtime: Runtime[Services]) -> dict[str, Any]:
        """The node that puts the branches together, in the order of the config."""
        services = self.budget.services(runtime)
        all_ends = state.get("branches", {})
        ends = [all_ends[self.branch(edge.to)] for edge in self.node.edges]
        update = merged(state, [end["changes"] for end in ends])
        if any(end["end"] != "joined" for end in ends):
            failed = next(end for end in ends if end["end"] == "failed")
            update = {**without_results(update), "failure": failed["changes"]["failure"]}
            branch = error_branch(self.node, update["failure"])
            entry: TrailEntry = {
                "node": self.node.name, "kind": self.node.kind, "visit": update["run"]["visits"][self.node.name],
                "at": services.now().isoformat(), "ms": 0.0, "branch": branch,
            }  # fmt: skip
            if self.within:
                entry["within"] = self.within.rstrip("/")
            services.tracer.branch(self.node.name, branch)
            update["trail"] = [*update["trail"], entry]
        return {**update, "branches": {}, **await self.budget.release(state, runtime)}


def _failed(state: State) -> bool:
    branch = state.get("trail", [])[-1]["branch"]
    return branch["condition"] == ON_ERROR and branch["to"] == FAILED


def _place(config: RunnableConfig) -> str:
    """Where in its run a fork is: the same for all its branches."""
    at: Mapping[str, Any] = config.get("configurable", {})
    return f"{at.get('thread_id', '')} {str(at.get('checkpoint_ns', '')).rpartition('|')[0]}"
