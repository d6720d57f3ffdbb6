"""From a checked workflow to a compiled LangGraph `StateGraph`.

Each node of the config becomes one node of the graph. A step runs the node, then decides its branch on the state as it
is after it, and writes both into the state together: the decision is in the same checkpoint as what it was made on. The
conditional edge only reads the decision back, so what the trail says is what happened.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, cast

from langchain_core.runnables import Runnable
from langgraph.channels import LastValue
from langgraph.errors import GraphBubbleUp
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from sluicegate.errors import NodeFailedError, RunError, SluicegateError
from sluicegate.graphs.conditions.fields import misfit
from sluicegate.graphs.proofs.fanout.forks import Branches, branches_of, in_sequence
from sluicegate.graphs.proofs.flow import Flow, FlowNode
from sluicegate.graphs.proofs.shape import most_steps
from sluicegate.graphs.runtime.budgets.bounds import RouteBounds
from sluicegate.graphs.runtime.budgets.fan_out import FanOutBudget, StepFunction, account_of_budget
from sluicegate.graphs.runtime.steps.fork_run import FAILED, ForkRun, error_branch
from sluicegate.graphs.runtime.steps.items import (
    ItemStep,
    ListExpression,
    Sending,
    account_of,
    in_two_steps,
    progress_of,
    written,
)
from sluicegate.graphs.runtime.steps.streaming import Streams
from sluicegate.nodes.attempts import attempt
from sluicegate.nodes.declared import declared
from sluicegate.nodes.items import PromptsWithItems, item_placeholders
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.nodes.registry import BUILT_IN, kinds
from sluicegate.observe.tracing.span_attributes import node_attributes
from sluicegate.plain_data import plain
from sluicegate.services import Services
from sluicegate.state import FORGOTTEN, Branch, State, TrailEntry

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph

__all__ = ["BranchCondition", "Intake", "build", "decide"]


class BranchCondition(Protocol):
    """A compiled condition, as `graphs.conditions.conditions` makes them."""

    def evaluate(self, state: State) -> bool: ...

    def values(self, state: State) -> dict[str, Any]:
        """Every field it reads, with the value it has."""
        ...

    def known(self, facts: Mapping[str, object]) -> bool | None:
        """Its value as far as these fields decide it."""
        ...


@dataclass(frozen=True, slots=True)
class Intake:
    """A node before the first: turns a foreign caller's input into the initial state of a run."""

    name: str
    input: type[Any]
    """A `TypedDict` of the input."""
    sees: type[Any]
    """A `TypedDict` of what the node reads: the input and what the state already holds."""
    begin: Any
    """Turns the input into the state."""


def build(
    flow: Flow,
    conditions: Mapping[str, BranchCondition],
    settings: Mapping[str, Any],
    *,
    lists: Mapping[str, ListExpression] | None = None,
    bounds: RouteBounds | None = None,
    name: str = "workflow",
    services: Services | None = None,
    intake: "Intake | None" = None,
    checkpointer: "BaseCheckpointSaver[Any] | None" = None,
) -> "CompiledStateGraph[State, Any, Any, State]":
    """Compile a flow.

    `conditions` are by their text; `settings` are the validated settings, and `lists` what a for-each goes over, by
    node name. A run brings its services as the
    graph's context; `services` are those of a caller that cannot, such as LangGraph's own dev server, and `intake`
    makes its input into the state that a run begins with.
    """
    graph: StateGraph[State, Any, Any, State] = StateGraph(
        State,
        context_schema=None if services else Services,  # pyright: ignore[reportArgumentType]
        input_schema=intake.input if intake else State,
    )
    for key in FORGOTTEN:
        graph.channels[key] = _Forgettable(Any, key)
    streams = Streams(flow, conditions, settings)
    bounds = bounds or RouteBounds(flow, settings)
    _Region(flow, conditions, settings, services, streams, lists or {}, bounds).add(graph)
    if intake:
        graph.add_node(intake.name, intake.begin, input_schema=intake.sees)
        graph.add_edge(intake.name, flow.start)
    graph.add_edge(START, intake.name if intake else flow.start)
    # a run may be one segment from its intake to its end; LangGraph counts looking for a next node, too, and a fork is
    # a step for its branches and one for its join
    steps = most_steps(in_sequence(flow)) * (2 if branches_of(flow) else 1) + (1 if intake else 0) + 1
    return graph.compile(checkpointer=checkpointer, name=name).with_config(recursion_limit=steps)


@dataclass(frozen=True, slots=True)
class _Region:
    """A flow's nodes that follow one another in one graph: those of a run outside of any branch, or of one branch.

    Each branch is a graph of its own under one node of the graph around it, so that LangGraph runs branches side by
    side and each goes on from its own checkpoints.
    """

    flow: Flow
    conditions: Mapping[str, BranchCondition]
    settings: Mapping[str, Any]
    services: Services | None
    streams: Streams | None
    """None in a branch, which sends nothing before the others have come to the join."""
    lists: Mapping[str, ListExpression]
    """What each for-each goes over, by its name."""
    bounds: RouteBounds
    members: frozenset[str] | None = None
    """None for all nodes."""
    join: str = ""
    within: str = ""
    fails: bool = False
    """Whether an error of a node without an error branch ends the branch instead of the run."""

    def add(self, graph: "StateGraph[State, Any, Any, State]") -> None:
        forks = {
            name: one for name, one in branches_of(self.flow).items() if self.members is None or name in self.members
        }
        inside = frozenset[str]().union(*(one.inside for one in forks.values()))
        for node in self.flow.nodes.values():
            if node.name not in inside and (self.members is None or node.name in self.members):
                self._node(graph, node)
                if node.name in forks:
                    self._fork(graph, node, forks[node.name])

    def _node(self, graph: "StateGraph[State, Any, Any, State]", node: FlowNode) -> None:
        if node.within:
            return  # visited for the items of its for-each
        ends = self.fails and not node.on_error
        step, branch = self._step(node, self.streams), cast("Runnable[State, Any]", _Taken())
        targets = self._targets(edge.to for edge in node.ways)
        if node.do:
            own = self.settings[node.name]
            steps = {one.name: self._step(one, None) for one in self.flow.nodes.values() if one.within == node.name}
            item = ItemStep(node, own, steps, FanOutBudget(node.name, self.bounds, {node.do: [*steps]}, self.services))
            graph.add_node(node.do, item)  # pyright: ignore[reportArgumentType]
            graph.add_edge(node.do, node.name)
            step = in_two_steps(node.name, own, self.lists[node.name], step, item)
            branch = Sending(node.name, node.do, branch)
            targets[node.do] = node.do
        if node.join:
            step = self._budget(node).before(step, [edge.to for edge in node.edges])
        graph.add_node(node.name, _Visit(step))
        if node.join:
            return
        targets |= {FAILED: END} if ends and targets else {}
        if len(targets) > 1:
            graph.add_conditional_edges(node.name, branch, targets)  # pyright: ignore[reportArgumentType]
        else:
            graph.add_edge(node.name, next(iter(targets.values()), END))

    def _step(self, node: FlowNode, streams: Streams | None) -> StepFunction:
        kind, settings = kinds()[node.kind], self.settings[node.name]
        made = declared(node.name, kind, kind.make(node.name, settings), settings)
        ends = self.fails and not node.on_error
        return _step(self.flow, node, made, self.conditions, kind, streams, self.services, self.within, fails=ends)

    def _fork(self, graph: "StateGraph[State, Any, Any, State]", node: FlowNode, one: Branches) -> None:
        fork = ForkRun(node, self.within, self._budget(node))
        graph.add_node(fork.joining, fork.join)
        for edge, members in zip(node.edges, one.members, strict=True):
            branch: StateGraph[State, Any, Any, State] = StateGraph(State, context_schema=Services)
            within, fails = f"{self.within}{node.name}/{edge.to}/", bool(node.on_error) or self.fails
            replace(self, streams=None, members=members, join=node.join, within=within, fails=fails).add(branch)
            branch.add_edge(START, edge.to)
            name = fork.branch(edge.to)
            graph.add_node(name, cast("Any", fork.run(edge.to, branch.compile(name=name))))
            graph.add_edge(node.name, name)
        graph.add_edge([fork.branch(edge.to) for edge in node.edges], fork.joining)
        targets = self._targets([node.join, *([node.on_error.to] if node.on_error else [])])
        targets |= {FAILED: END} if self.fails and not node.on_error else {}
        graph.add_conditional_edges(fork.joining, _Taken(), targets)  # pyright: ignore[reportArgumentType]

    def _budget(self, fork: FlowNode) -> FanOutBudget:
        members = zip((edge.to for edge in fork.edges), branches_of(self.flow)[fork.name].members, strict=True)
        return FanOutBudget(fork.name, self.bounds, dict(members), self.services)

    def _targets(self, names: Iterable[str]) -> dict[str, str]:
        return {name: END if name == self.join else name for name in names}


@dataclass(frozen=True, slots=True)
class _Visit:
    """A step as LangGraph takes it. It disassembles each plain function, in search of a graph that this may call, which
    was most of what compiling takes; no step calls one.
    """

    step: StepFunction

    async def __call__(self, state: State, runtime: Runtime[Services]) -> dict[str, Any]:
        return await self.step(state, runtime)


class _Forgettable(LastValue[Any]):
    """Holds a key's last value, and nothing after None."""

    __slots__ = ()

    def update(self, values: Sequence[Any]) -> bool:
        changed = super().update(values)
        if changed and self.value is None:
            self.value = type(self)(self.typ, self.key).value
        return changed


class _Taken(Runnable[State, str]):
    """Reads the branch that was decided. A plain function would be given a thread for it, at each step."""

    name = "branch"

    def invoke(self, input: State, config: "RunnableConfig | None" = None, **kwargs: Any) -> str:
        del config, kwargs
        return input.get("trail", [])[-1]["branch"]["to"]

    async def ainvoke(self, input: State, config: "RunnableConfig | None" = None, **kwargs: Any) -> str:
        return self.invoke(input, config, **kwargs)


def _step(
    flow: Flow,
    node: FlowNode,
    run_node: Node,
    conditions: Mapping[str, BranchCondition],
    kind: NodeKind,
    streams: Streams | None,
    default: Services | None,
    within: str = "",
    *,
    fails: bool = False,
) -> StepFunction:
    name, observation, tells = node.name, kind.observation, kind.tells

    async def step(state: State, runtime: Runtime[Services]) -> dict[str, Any]:
        services = cast("Services | None", runtime.context) or default
        if services is None:
            raise NodeFailedError(f"{name} was started without services")
        started, at = time.perf_counter(), services.now().isoformat()
        visits = state["run"]["visits"]
        visit = visits.get(name, 0) + 1
        entered: State = {**state, "run": {**state["run"], "visits": {**visits, name: visit}}}
        # branches that run side by side have the same numbers
        number, progress = sum(visits.values()) + 1, progress_of(state, name)
        which = {"item": entered["item"]["index"]} if "item" in entered else {}
        with services.tracer.node(name, node.kind, observation, visit=visit, step=number, **which) as span:
            try:
                shown = item_placeholders(entered, services)
                given = replace(services, prompts=PromptsWithItems(services.prompts, shown)) if shown else services
                async with streams.of(name, entered, given) if streams else nullcontext(given) as own:
                    made = await attempt(name, kind, run_node, entered, own, node.limits)
                failure = made.failure if node.on_error or (fails and made.error) else None
                if made.error and not failure:
                    raise made.error  # noqa: TRY301
                update, cleaned = plain({**made.update, "failure": failure} if failure else made.update)
                if node.edges and kind not in BUILT_IN and not failure:
                    _fitting(node, update)
                after = written(entered, update)
                branch = error_branch(node, update["failure"]) if failure else decide(flow, node, conditions, after)
                if failure:
                    span.warn(f"{name} failed: {branch['reason']}")
                    if services.audit and made.error:
                        await services.audit.failed(entered, made.error, node=name)
            except GraphBubbleUp:  # how a node waits for a person
                raise
            except Exception as error:
                if services.audit:
                    await services.audit.failed(entered, error, node=name)
                if isinstance(error, SluicegateError):
                    raise
                raise NodeFailedError(f"{name} ({node.kind}) failed: {type(error).__name__}: {error}") from error
            branch["values"].update(_told(tells, update))
            branch["reason"] = account_of_budget(state, name) + account_of(progress) + branch["reason"]
            span.set(**node_attributes(update))
        intent = after.get("intent")
        services.tracer.branch(
            name,
            branch,
            confidence=intent["confidence"] if intent else None,
            threshold=after.get("route", {}).get("threshold"),
        )
        ms = round((time.perf_counter() - started) * 1000, 3)
        if services.audit:
            await services.audit.step(after, update, node=name, kind=node.kind, visit=visit, ms=ms, branch=branch)
        entry: TrailEntry = {
            "node": name, "kind": node.kind, "visit": visit, "at": at, "ms": ms, "branch": branch,
        }  # fmt: skip
        if within:
            entry["within"] = within.rstrip("/")
        if done := progress.get("done"):
            ordered = sorted(done, key=lambda one: one["index"])
            entry["items"] = [{"index": one["index"], "trail": one["trail"]} for one in ordered]
        if made.count > 1:
            entry["attempts"] = made.count
        if cleaned:
            entry["cleaned"] = cleaned
        return {"run": entered["run"], **update, **_earlier(entered, update), "trail": [entry]}

    return step


def _fitting(node: FlowNode, update: Mapping[str, Any]) -> None:
    """Raise `RunError` SG628 where an installed kind writes what conditions are not proved for."""
    if wrong := misfit(update):
        hint = f"Let {node.kind} write every field, with the values that it can have"
        raise RunError("SG628", f"{node.name} ({node.kind}) wrote {wrong}", hint=hint)


def _earlier(state: State, update: Mapping[str, Any]) -> dict[str, Any]:
    """The passages that a new search takes the place of, beside those of searches before it."""
    replaced = [one for one in state.get("documents", []) if one not in update.get("documents", ())]
    if "documents" not in update or not replaced:
        return {}
    earlier = update.get("earlier_documents", state.get("earlier_documents", []))
    return {"earlier_documents": [*earlier, *(one for one in replaced if one not in earlier)]}


def _told(fields: Sequence[str], update: Mapping[str, Any]) -> dict[str, Any]:
    """What a node has written of `fields`, each ``concern.key``."""
    parts = [(field, *field.split(".", 1)) for field in fields]
    return {field: update[concern][key] for field, concern, key in parts if key in update.get(concern, {})}


def decide(flow: Flow, node: FlowNode, conditions: Mapping[str, BranchCondition], state: State) -> Branch:
    """The branch that `node` takes on `state`: the first whose condition holds and whose target has visits left.

    Raises `NodeFailedError` when none is left, which the totality proof rules out for a checked workflow.
    """
    if node.join:
        return {"to": node.join, "condition": "", "values": {}, "skipped": [], "reason": "every branch"}
    values: dict[str, Any] = {}
    skipped: list[str] = []
    visits = state["run"]["visits"]
    for position, edge in enumerate(node.edges):
        if edge.condition is not None:
            condition = conditions[edge.condition]
            values.update(condition.values(state))
            if not condition.evaluate(state):
                skipped.append(edge.to)
                continue
        if not flow.left(edge, visits):
            skipped.append(edge.to)
            values[f"visits.{edge.to}"] = flow.nodes[edge.to].max_visits
            continue
        if edge.condition is not None:
            reason = f"{edge.condition} held"
        elif len(node.edges) == 1:
            reason = "the only way"
        else:
            reason = "no branch before it held"
        return {"to": edge.to, "condition": node.said(position), "values": values, "skipped": skipped, "reason": reason}
    if not node.edges:
        return {"to": "", "condition": "", "values": {}, "skipped": [], "reason": "the end"}
    raise NodeFailedError(f"no branch of {node.name} can be taken", hint="Run sluicegate check on the workflow")
