"""`call-tool`: check the policies, then call one tool once, however often the step is repeated."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from sluicegate.errors import StoppedError
from sluicegate.nodes._settings import Settings
from sluicegate.nodes.items import item_context, item_placeholders, item_values, text_of
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.nodes.model_governance import account_of_step
from sluicegate.nodes.prompts import fill, placeholders
from sluicegate.nodes.writing.generation import said
from sluicegate.plain_data import plain
from sluicegate.services import Services, ToolResult
from sluicegate.state import Failure, ForEachItem, State, ToolCall, question

__all__ = ["CALL_TOOL", "CallTool", "arguments_of", "idempotency_key", "tool_question"]


_ONE = re.compile(r"\s*\{\{\s*([\w.]+)\s*\}\}\s*")
"""A text that is one placeholder and nothing else."""


class CallTool(Settings):
    tool: str | None = None
    """The tool; by default the intent's."""
    arguments: dict[str, Any] | None = None
    """What the tool is called with; by default what was extracted. A text may have the placeholders
    `{{question}}`, `{{extraction.FIELD}}`, `{{items.NAME}}` and, in what a `for-each` does for an item, `{{item}}`,
    `{{item.index}}` and `{{item.KEY}}`. One that is a placeholder and nothing else gives the value with its type, or
    nothing where there is none."""
    say: str | None = None
    """The answer when it worked, with placeholders such as ``{{result.id}}``, and ``{{result}}`` for all of it; by
    default the draft stays as it is."""


def idempotency_key(run: str, tool: str, arguments: Mapping[str, Any], item: ForEachItem | None = None) -> str:
    """The idempotency key, derived from the action, not from the place in the graph: a repeated step has the same.

    What is done for two items of a list are two actions, also where their arguments are equal.
    """
    action = json.dumps([run, tool, arguments, *([item] if item else [])], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(action.encode()).hexdigest()[:32]


def _make(name: str, settings: CallTool) -> Node:
    async def call_tool(state: State, services: Services) -> dict[str, Any]:
        intent, run = state.get("intent"), state["run"]["id"]
        tool = settings.tool or (intent["tool"] if intent else "")
        arguments = arguments_of(settings.arguments, state, services)
        key = idempotency_key(run, tool, arguments, state.get("item"))
        decision = services.policy.decide(
            state["principal"], "call_tool", *tool_question(tool, arguments, state, services)
        )
        if not decision.allowed:
            denied = _call(tool, arguments, key, "denied", error=decision.reason or "no policy allows it")
            return {"tool_calls": [denied]}
        try:
            result = await _paid_call(tool, arguments, key, run, services)
        except StoppedError as error:
            return {"tool_calls": [_call(tool, arguments, key, "denied", error=str(error))]}
        call = _call(tool, arguments, key, result.status, result.value, result.error, result.ms)
        if result.status == "failed":
            call["cause"] = result.cause
        if result.status != "done" or settings.say is None:
            return {"tool_calls": [call]}
        given = plain(result.value)[0]
        values = {"result": text_of(given)} | {f"result.{field}": str(part) for field, part in _fields(given).items()}
        answer = said(name, fill(settings.say, {**values, **{k: str(v) for k, v in arguments.items()}}))
        return {"tool_calls": [call], "answer": answer}

    return call_tool


def tool_question(
    tool: str, arguments: Mapping[str, Any] | None, state: State, services: Services
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The resource and the context on which policies decide about a call; without arguments where they are not known
    yet."""
    intent, known = state.get("intent"), services.workflow.tools.get(tool)
    context = {
        "intent": intent["label"] if intent else "",
        "risk": intent["risk"] if intent else "high",
        "hour": services.workflow.hour(services.now()),
        **item_context(state),
    }
    if arguments is not None:
        context["arguments"] = {"of": tool, "index": 0, "parts": arguments}
    return {"type": "Tool", "id": tool, **(known.hints if known else {})}, context


async def _paid_call(tool: str, arguments: Mapping[str, Any], key: str, run: str, services: Services) -> ToolResult:
    """A call, booked before it is made where calls are. Raises `StoppedError` when a budget has no room for it."""
    known, account = services.workflow.tools.get(tool), account_of_step()
    if known is None or known.usd is None or account is None:
        return await services.tools.call(tool, arguments, key=key, run=run)
    charged = await account.charge(tool, known.usd, f"{run} {key}")
    result = await services.tools.call(tool, arguments, key=key, run=run)
    if result.status == "invalid" or (result.status == "failed" and result.cause == "unavailable"):
        await account.refund(charged)
    return result


def arguments_of(given: Mapping[str, Any] | None, state: State, services: Services) -> dict[str, Any]:
    """What a tool is called with in this state; `given` are the config's arguments, None for what was extracted.

    Of the config's, a placeholder and nothing else is the value itself, with its type; without a value it is left out.
    """
    extraction = state.get("extraction")
    fields = extraction["fields"] if extraction else {}
    if given is None:
        return dict(fields)
    own: dict[str, Any] = {"question": question(state), **{f"extraction.{key}": part for key, part in fields.items()}}
    texts = item_placeholders(state, services) | {name: text_of(part) for name, part in own.items()}
    values = {**texts, **item_values(state, services), **own}
    found: dict[str, Any] = {}
    for name, template in given.items():
        if not isinstance(template, str):
            found[name] = template
        elif not (one := _ONE.fullmatch(template)):
            found[name] = fill(template, texts)
        elif values.get(one[1]) is not None:
            found[name] = values[one[1]]
    return found


def _says_results(settings: CallTool) -> bool:
    """What a tool gives, and what a model put into its arguments, is a draft; all other words are the config's."""
    return settings.say is not None and any(placeholders(settings.say))


def _fields(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {"value": value}  # pyright: ignore[reportUnknownVariableType]


def _call(
    tool: str, arguments: dict[str, Any], key: str, status: Any, result: Any = None, error: str = "", ms: float = 0.0
) -> ToolCall:
    return {
        "tool": tool, "arguments": arguments, "key": key, "status": status, "result": result, "error": error, "ms": ms,
    }  # fmt: skip


def _failed(name: str, update: Mapping[str, Any]) -> Failure | None:
    """A call that failed may be tried again, one that is denied or invalid not."""
    last: ToolCall = update["tool_calls"][-1]
    if last["status"] != "failed":
        return None
    cause = last.get("cause", "error")
    return {"node": name, "cause": cause, "code": "SG609", "reason": f"{last['tool']}: {last['error']}"}


CALL_TOOL = NodeKind(
    name="call-tool",
    doc="Check the policies, then call a tool once, however often the step is repeated.",
    settings=CallTool,
    make=_make,
    writes=frozenset({"tool_calls", "answer", "spend"}),
    reads=lambda settings: frozenset({"extraction", *(("items", "failed_items") if settings.arguments else ())}),
    leaves=lambda settings: frozenset() if settings.say else frozenset({"answer"}),
    effects=frozenset({"calls-tool"}),
    drafts=_says_results,
    failed=_failed,
    observation="tool",
)
