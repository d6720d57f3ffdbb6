"""The items of a `for-each`: one LangGraph task each, sent by its node, which comes after them once more.

A for-each is a node of the graph that runs twice. First it evaluates its list and notes the items in the state
(`begun`); the edge behind it sends one task per item (`Send`), which runs the whole chain of nodes on a state of its
own. Then it puts the outcomes together (`nodes.kinds.control.for_each`) and decides its branch. An item that has ended
is a pending write of its step, so `kill -9` repeats no more than the items under way; outcomes are merged in the order
of the list, whatever the order in which they end.
"""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, cast, get_type_hints
from weakref import WeakValueDictionary

from langchain_core.runnables import Runnable
from langgraph.config import get_config
from langgraph.runtime import Runtime
from langgraph.types import Send

from sluicegate.errors import NodeFailedError, NotAListError, RunError, TooManyItemsError
from sluicegate.graphs.proofs.flow import ON_ERROR, FlowNode
from sluicegate.graphs.runtime.budgets.fan_out import FanOutBudget, StepFunction
from sluicegate.nodes.items import document_of, item_placeholders
from sluicegate.nodes.kinds.control.for_each import ForEach
from sluicegate.nodes.model_governance import no_spend
from sluicegate.nodes.prompts import fill
from sluicegate.plain_data import plain
from sluicegate.services import Services
from sluicegate.state import APPENDED, ItemOutcome, MapProgress, State, progressed, question

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig

__all__ = [
    "ItemStep",
    "ListExpression",
    "Sending",
    "account_of",
    "in_two_steps",
    "progress_of",
    "written",
]

_CHANNELS = [*get_type_hints(State)]
_READ = "__pregel_read"
"""Where LangGraph has what reads the state, for its conditional edges and for the tools of its own agents. There is no
public way: a sent task is given what was sent, and the whole state in each would be written once for each item."""
_OWN = frozenset({"run", "trail", "spend", "tool_calls", "request", "principal", "failure", "item", "maps"})
"""What is no result of an item, or told elsewhere."""


class ListExpression(Protocol):
    """A compiled expression for a list, as `graphs.conditions.conditions` makes them."""

    def value(self, state: State) -> Any: ...


def in_two_steps(
    name: str, settings: ForEach, over: ListExpression, step: StepFunction, items: "ItemStep"
) -> StepFunction:
    """A for-each before and after its items; `step` is the one after them."""

    async def for_each(state: State, runtime: Runtime[Services]) -> dict[str, Any]:
        if progress_of(state, name):
            after = await step(state, runtime)
            return {**after, "maps": {name: None}, **await items.budget.release(state, runtime)}
        progress = begun(name, settings, over, state)
        if progress.get("elements"):
            return {"maps": {name: progress}, **await items.reserve(state, progress, runtime)}
        # there is nothing to do for any item
        return await step({**state, "maps": progressed(state.get("maps") or {}, {name: progress})}, runtime)

    return for_each


def progress_of(state: State, node: str) -> MapProgress:
    return (state.get("maps") or {}).get(node, {})


def account_of(progress: MapProgress) -> str:
    """What has become of the items, for the trail."""
    if "done" not in progress:
        return ""
    failed = sum("failure" in one for one in progress["done"])
    said = f"{len(progress['done']) - failed} of {len(progress.get('elements', ()))} items have results; "
    return said + (f"{cut}; " if (cut := progress.get("cut")) else "")


def begun(name: str, settings: ForEach, over: ListExpression, state: State) -> MapProgress:
    """The items of a for-each, or why it has none."""
    try:
        value = over.value(state)
    except RunError:
        value = ""  # an error of the library looks like a text
    if not _is_list(value):
        what = f"{name} goes over {settings.over}, which is {_named(value)}"
        return {"elements": [], "refused": [NotAListError.only, what]}
    size = len(value)
    values, lost = plain(value[: settings.at_most])
    if size <= settings.at_most:
        return {"elements": values, "cut": "; ".join(lost)}
    what = f"{settings.over} has {size:,} elements, of which {name} takes {settings.at_most:,}"
    if settings.excess == "fail":
        return {"elements": [], "refused": [TooManyItemsError.only, what]}
    return {"elements": values, "cut": what}


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list | tuple)


def _named(value: Any) -> str:
    if isinstance(value, str | bool):
        return "not a list, or not there"
    return "a number" if isinstance(value, int | float) else "a map" if isinstance(value, dict) else "not known"


class Sending(Runnable[State, Any]):
    """The edge behind a for-each: to its items when it has just begun, then by the branch that it has decided."""

    name = "branch"

    def __init__(self, node: str, do: str, branch: Runnable[State, str]) -> None:
        self._node, self._do, self._branch = node, do, branch

    def invoke(self, input: State, config: "RunnableConfig | None" = None, **kwargs: Any) -> Any:
        progress = progress_of(input, self._node)
        if not progress:
            return self._branch.invoke(input, config, **kwargs)
        return [Send(self._do, {"index": index}) for index in range(len(progress.get("elements", ())))]

    async def ainvoke(self, input: State, config: "RunnableConfig | None" = None, **kwargs: Any) -> Any:
        return self.invoke(input, config, **kwargs)


class ItemStep:
    """The task of one item."""

    def __init__(
        self, node: FlowNode, settings: ForEach, steps: Mapping[str, StepFunction], budget: FanOutBudget
    ) -> None:
        """`steps` are those of the nodes that are visited for an item."""
        self._node, self._settings, self._steps, self.budget = node, settings, steps, budget
        self._gates: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def __call__(self, sent: dict[str, Any], runtime: Runtime[Services]) -> dict[str, Any]:
        state = _state_of_the_run()
        run, index = state["run"]["id"], sent["index"]
        gate = self._gates.setdefault(run, asyncio.Semaphore(self._settings.at_once))
        services = self.budget.services(runtime)
        visit = state["run"]["visits"].get(self._node.name, 0) + 1
        async with gate:
            with services.tracer.beneath(self._node.name, visit):
                outcome = await self._outcome(self._entered(state, index, services), state, runtime)
        return {"maps": {self._node.name: {"done": [outcome]}}}

    async def reserve(self, state: State, progress: MapProgress, runtime: Runtime[Services]) -> dict[str, Any]:
        """Set aside what all items can cost."""
        begun: State = {**state, "maps": {**(state.get("maps") or {}), self._node.name: progress}}
        services = self.budget.services(runtime)
        items = range(len(progress.get("elements", ())))
        return await self.budget.reserve(
            state, runtime, [(str(index), self._node.do, self._entered(begun, index, services)) for index in items]
        )

    async def _outcome(self, mine: State, state: State, runtime: Runtime[Services]) -> ItemOutcome:
        at, wrote, branch = self._node.do, set[str](), None
        while branch is None or branch["to"] != self._node.name:
            update = await self._steps[at](mine, runtime)
            wrote |= update.keys()
            mine = written(mine, update)
            branch = mine.get("trail", [])[-1]["branch"]
            at = branch["to"]
        values = cast("dict[str, Any]", mine)
        outcome: ItemOutcome = {
            "index": values["item"]["index"],
            "wrote": {key: values[key] for key in sorted(wrote - _OWN)},
            "trail": mine.get("trail", [])[len(state.get("trail", ())) :],
            "spend": mine.get("spend") or no_spend(),
        }
        if calls := mine.get("tool_calls", [])[len(state.get("tool_calls", ())) :]:
            outcome["wrote"]["tool_calls"] = calls
        if branch["condition"] == ON_ERROR and "failure" in mine:
            outcome["failure"] = mine["failure"]
        return outcome

    def _entered(self, state: State, index: int, services: Services) -> State:
        """The state that an item begins with: the run's, with the item and a spending of its own."""
        progress = progress_of(state, self._node.name)
        mine: State = {
            **state,
            "item": {"value": progress.get("elements", [])[index], "index": index, "node": self._node.name},
            "spend": no_spend(),
        }
        if self._settings.ask is not None:
            values = {"question": question(state), **item_placeholders(mine, services)}
            mine["request"] = {**state["request"], "text": fill(self._settings.ask, values)}
            mine["request"].pop("standalone", None)
        if document := document_of(mine):
            mine["documents"] = [document]
        return self.budget.part(mine, str(index))


def _state_of_the_run() -> State:
    """The state at the beginning of the step that a sent task is in.

    Raises `NodeFailedError` under a LangGraph that has no longer what reads it.
    """
    read = get_config().get("configurable", {}).get(_READ)
    if read is None:
        what = "this version of LangGraph gives a sent task no way to read the state"
        raise NodeFailedError(what, hint="Install a version that pyproject.toml allows")
    return cast("State", read(_CHANNELS, False))


def written(state: State, update: Mapping[str, Any]) -> State:
    """The state with an update, merged as the graph merges it."""
    before = cast("dict[str, Any]", state)
    longer = {key: [*(before.get(key) or ()), *update[key]] for key in APPENDED if key in update}
    wider: dict[str, Any] = {
        key: {**(before.get(key) or {}), **update[key]} for key in ("items", "failed_items") if key in update
    }
    merged = {**before, **update, **longer, **wider}
    return cast("State", {key: value for key, value in merged.items() if value is not None})
