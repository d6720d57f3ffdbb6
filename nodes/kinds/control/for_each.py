"""`for-each`: the same few nodes for each element of a list, side by side, and their results in the list's order.

The run of the items is `graphs.runtime.steps.items`; this node is what comes after them: it puts their results
together. Whatever is written for an item stays with it, but for what it has spent, the tools it has called and the
documents it has read, which are the run's.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from sluicegate.errors import NodeFailedError, NotAListError, StoppedError, TooFewResultsError, TooManyItemsError
from sluicegate.nodes._settings import Settings
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.nodes.model_governance import no_spend
from sluicegate.services import Services
from sluicegate.state import DocumentRef, ItemFailure, ItemOutcome, Spend, State

__all__ = ["FOR_EACH", "ForEach"]


class ForEach(Settings):
    over: str
    """The list, in CEL over the fields in the reference: ``documents``, ``extraction.fields.positions``,
    ``items.claims.filter(c, c.extraction.complete)``."""
    do: str
    """The first node for each item. Its chain ends with `then: ` this node; it may branch, but not end the run, wait
    for a person, look for a cached answer or hold another `for-each`. A condition there may read `item.value` and
    `item.index`, and a prompt `{{item}}`, `{{item.index}}` and, of a map, `{{item.KEY}}`. An item that is one of
    `documents` is the only one that its nodes see."""
    at_most: int = Field(ge=1, le=1000)
    """The most items."""
    at_once: int = Field(default=4, ge=1, le=64)
    """How many items are worked on at a time."""
    collect: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=100)]
    """The name of the results: `items.NAME`, and `failed_items.NAME` for the items that failed. Prompts may show them,
    as `{{items.NAME}}`."""
    ask: str | None = None
    """What stands for the request in what is done for an item, with the placeholders of a prompt there and
    `{{question}}`; `{{item}}` lets `classify`, `tag`, `extract` and `retrieve` work on the item. By default the request
    itself."""
    at_least: Annotated[int, Field(ge=0)] | Annotated[float, Field(gt=0, lt=1)] = 1
    """How many items must have a result, as a number or a share; with fewer the node has failed. Of an empty list none
    must."""
    excess: Literal["fail", "cut"] = "fail"
    """What becomes of more items than `at_most`: the node fails, or the list is cut."""


def _make(name: str, settings: ForEach) -> Node:
    async def for_each(state: State, services: Services) -> dict[str, Any]:
        del services
        progress = (state.get("maps") or {})[name]
        if "refused" in progress:
            raise _refusal(*progress["refused"])
        values, done = progress.get("elements", []), sorted(progress.get("done", ()), key=lambda one: one["index"])
        failures: list[ItemFailure] = [
            {"index": one["index"], **one["failure"]}  # pyright: ignore[reportAssignmentType]
            for one in done
            if "failure" in one
        ]
        results = [
            {"index": one["index"], "value": values[one["index"]], **one["wrote"]}
            for one in done
            if "failure" not in one
        ]
        update: dict[str, Any] = {}
        if done:
            update["spend"] = _added([state.get("spend") or no_spend(), *(one["spend"] for one in done)])
        if calls := [call for one in done for call in one["wrote"].get("tool_calls", ())]:
            update["tool_calls"] = calls
        if documents := _read(state, done):
            update["earlier_documents"] = [*state.get("earlier_documents", []), *documents]
        if len(results) < _least(settings.at_least, len(values)):
            codes = ", ".join(dict.fromkeys(one["code"] for one in failures))
            error = TooFewResultsError(f"{name} has results for {len(results)} of {len(values)} items ({codes})")
            error.update = update
            raise error
        return {
            **update,
            "items": {settings.collect: results},
            "failed_items": {settings.collect: failures},
        }

    return for_each


def _least(at_least: float, count: int) -> float:
    return min(at_least, count) if isinstance(at_least, int) else at_least * count


_REFUSALS = {one.only: one for one in (NotAListError, TooManyItemsError)}


def _refusal(code: str, message: str) -> Exception:
    if code in _REFUSALS:
        return _REFUSALS[code](message)
    return StoppedError(code, message) if code.startswith("SG5") else NodeFailedError(message)


def _added(parts: list[Spend]) -> Spend:
    """The sum; stopped where one was, by what the last of them was."""
    total: dict[str, Any] = dict(parts[0])
    for part in parts[1:]:
        for key in ("usd", "estimated_usd", "prompt_tokens", "completion_tokens", "slm_calls", "llm_calls"):
            total[key] += part[key]
        total["stopped"] = total["stopped"] or part["stopped"]
        total["stopped_by"] = part["stopped_by"] or total["stopped_by"]
    return total  # pyright: ignore[reportReturnType]


def _read(state: State, done: list[ItemOutcome]) -> list[DocumentRef]:
    """The passages that the items' results rest on and the run does not know of."""
    known = [*state.get("documents", ()), *state.get("earlier_documents", ())]
    found: list[DocumentRef] = []
    for one in done:
        for document in one["wrote"].get("documents", ()):
            if document not in known and document not in found:
                found.append(document)
    return found


FOR_EACH = NodeKind(
    name="for-each",
    doc="Do the same for each element of a list, and collect the results in its order.",
    settings=ForEach,
    make=_make,
    writes=frozenset({"items", "failed_items", "spend", "tool_calls", "earlier_documents"}),
    effects=frozenset({"maps"}),
    observation="chain",
)
