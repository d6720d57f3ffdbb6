"""Attribute names: ours as OpenTelemetry's GenAI conventions and as Langfuse's attributes.

Sources: OpenTelemetry semantic conventions for generative AI (``gen_ai.*``, development status), and the attribute
names of the Langfuse SDKs 4 and 5 (`langfuse._client.attributes`). What neither names goes under ``sluicegate.`` or
into Langfuse's metadata. Values are strings, numbers, booleans or lists of strings, all else is JSON text.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, TypeAlias, cast

from sluicegate.observe.tracing.spans import Record, RunInfo, Trace

__all__ = [
    "Named",
    "given_to_nodes",
    "langfuse_attributes",
    "langfuse_name",
    "langfuse_run",
    "otel_attributes",
    "otel_run",
]

Value: TypeAlias = str | bool | int | float | list[str]
Named: TypeAlias = dict[str, Value]

_OPERATIONS = {
    "agent": "invoke_agent",
    "generation": "chat",
    "embedding": "embeddings",
    "retriever": "retrieval",
    "tool": "execute_tool",
}
_GEN_AI = {
    "max_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "seed": "gen_ai.request.seed",
    "prompt_tokens": "gen_ai.usage.input_tokens",
    "completion_tokens": "gen_ai.usage.output_tokens",
    "dimensions": "gen_ai.embeddings.dimension.count",
    "index": "gen_ai.data_source.id",
    "query": "gen_ai.retrieval.query.text",
    "tool": "gen_ai.tool.name",
    "arguments": "gen_ai.tool.call.arguments",
    "result": "gen_ai.tool.call.result",
    "prompt": "gen_ai.prompt.name",
}
_LINKED_PROMPT = re.compile(r"@langfuse:(.+)@(\d+)$")


def otel_run(info: RunInfo) -> Named:
    """Attributes of the run on each of its spans."""
    named: Named = {
        "gen_ai.workflow.name": info.workflow,
        "sluicegate.run": info.run_id,
        "sluicegate.version": info.version,
        "sluicegate.digest": info.digest,
        "sluicegate.tags": info.tags,
        "sluicegate.shadow": info.shadow,
    }
    if info.session:
        named |= {"session.id": info.session, "gen_ai.conversation.id": info.session}
    if info.user:
        named["user.id"] = info.user
    return named


def otel_attributes(record: Record) -> Named:
    """One span's own attributes."""
    said = record.attributes
    named: Named = {"sluicegate.observation": record.type}
    if record.type in _OPERATIONS and "node" not in said:
        named["gen_ai.operation.name"] = _OPERATIONS[record.type]
        named |= _OTEL_TYPES.get(record.type, _nothing)(said)
    for key, value in said.items():
        if value is not None and key not in _SAID_OTHERWISE:
            named[_GEN_AI.get(key, f"sluicegate.{key}")] = _plain(value)
    if record.level == "WARNING":
        named["sluicegate.warning"] = record.message
    return named


def langfuse_run(info: RunInfo) -> Named:
    """Trace attributes, which Langfuse wants on every span."""
    named: Named = {
        "langfuse.trace.name": info.workflow,
        "langfuse.trace.tags": info.tags,
        "langfuse.environment": info.environment,
        "langfuse.release": info.release,
        "langfuse.version": f"{info.workflow} {info.version} {info.digest[:12]}",
        "langfuse.trace.metadata.run": info.run_id,
        "langfuse.trace.metadata.digest": info.digest,
        "langfuse.trace.metadata.request": _text(info.metadata),
    }
    if info.session:
        named["session.id"] = info.session
    if info.user:
        named["user.id"] = info.user
    return named


def langfuse_name(record: Record) -> str:
    """A model call is named by the model that answered; OpenTelemetry names it by the one asked for."""
    if record.type in _OPERATIONS and "asked" in record.attributes and "model" in record.attributes:
        return f"{_OPERATIONS[record.type]} {record.attributes['model'].partition(':')[2]}"
    return record.name


def langfuse_attributes(record: Record, before: Mapping[str, Any] | None = None) -> Named:
    """One observation's own attributes; `before` is what its node was given (see `given_to_nodes`)."""
    said = record.attributes
    named: Named = {"langfuse.observation.type": record.type, "langfuse.observation.level": record.level}
    if record.message:
        named["langfuse.observation.status_message"] = record.message
    if "node" in said:
        # with these two the agent graph has the nodes, in their order, and nothing else
        named["langfuse.observation.metadata.langgraph_node"] = said["node"]
        named["langfuse.observation.metadata.langgraph_step"] = said.get("step", 0)
        if before:
            named["langfuse.observation.input"] = _text(before)
        # what has written nothing, as an end that replies, passes on what it was given
        named |= _shown("output", said, _WRITTEN) or _shown("output", before or {}, ("draft", "request"))
    elif record.type != "event":
        # what an event holds is short, and under its metadata
        named |= _shown("input", said, _INPUT) | _shown("output", said, _OUTPUT)
    if record.type in ("generation", "embedding"):
        named |= _langfuse_model(said)
    for key, value in said.items():
        if value is not None and key not in _SHOWN:
            named[f"langfuse.observation.metadata.{key}"] = _metadata(value)
    return named


_SHOWN = frozenset(
    {"input", "output", "query", "arguments", "result", "step"}
    | {"run", "workflow", "version", "digest", "channel", "received_at", "size", "cleaned"}
)
"""What has another place than an observation's metadata: its input or output, or the trace."""
_INPUT = ("input", "query", "arguments")
_OUTPUT = ("output", "documents", "result", "verdicts", "verdict", "answer")
_WRITTEN = (
    "output", "documents", "tool_calls", "approval", "verdicts", "tagged", "arguments", "intent", "policy", "cache",
)  # fmt: skip
"""What a node writes, the most telling first."""
_GIVEN = 1_000
"""Characters of one text in what a node was given."""


def _shown(side: str, said: Mapping[str, Any], keys: Sequence[str]) -> Named:
    """The first of `keys` as an observation's input or output."""
    found = next((said[key] for key in keys if said.get(key) is not None), None)
    return {} if found is None else {f"langfuse.observation.{side}": _text(found)}


def given_to_nodes(trace: Trace) -> dict[str, dict[str, Any]]:
    """By the id of a node's observation: the request, and the draft that there was when the node began."""
    given: dict[str, dict[str, Any]] = {}
    before: dict[str, Any] = {"request": _cut(trace.info.request)} if trace.info.request else {}
    for record in sorted(trace.records, key=attrgetter("start_ns")):
        if "node" in record.attributes:
            given[record.id] = before
            if draft := record.attributes.get("output"):
                before = {**before, "draft": _cut(draft)}
    return given


def _cut(text: str) -> str:
    """The root and the step that wrote it have the whole text."""
    return text if len(text) <= _GIVEN else f"{text[:_GIVEN]}…"


def _langfuse_model(said: Mapping[str, Any]) -> Named:
    named: Named = {"langfuse.observation.model.name": str(said.get("model") or said.get("asked", ""))}
    parameters = {key: said[key] for key in ("max_tokens", "temperature", "seed") if key in said}
    if parameters:
        named["langfuse.observation.model.parameters"] = json.dumps(parameters)
    if "prompt_tokens" in said:
        read, written = said["prompt_tokens"], said["completion_tokens"]
        named["langfuse.observation.usage_details"] = json.dumps(
            {"input": read, "output": written, "total": read + written}
        )
    if "usd" in said:
        named["langfuse.observation.cost_details"] = json.dumps({"total": said["usd"]})
    if linked := _LINKED_PROMPT.search(str(said.get("prompt", ""))):
        named["langfuse.observation.prompt.name"] = linked[1]
        named["langfuse.observation.prompt.version"] = int(linked[2])
    if "first_token_ns" in said:
        first = datetime.fromtimestamp(said["first_token_ns"] / 1e9, UTC)
        named["langfuse.observation.completion_start_time"] = json.dumps(first.isoformat())
    return named


def _otel_agent(said: Mapping[str, Any]) -> Named:
    named: Named = {"gen_ai.agent.name": said.get("workflow", ""), "gen_ai.agent.version": said.get("version", "")}
    return named | _messages(said)


def _otel_model(said: Mapping[str, Any]) -> Named:
    provider, _, model = str(said.get("asked", "")).partition(":")
    named: Named = {"gen_ai.request.model": model, "gen_ai.provider.name": provider}
    if "model" in said:
        provider, _, model = str(said["model"]).partition(":")
        named |= {"gen_ai.response.model": model, "gen_ai.provider.name": provider}
    if "finish" in said:
        named["gen_ai.response.finish_reasons"] = [said["finish"]]
    return named | _messages(said)


def _otel_retriever(said: Mapping[str, Any]) -> Named:
    return {"gen_ai.retrieval.documents": _text(said["documents"])} if "documents" in said else {}


def _otel_tool(said: Mapping[str, Any]) -> Named:
    return {"gen_ai.tool.call.id": str(said.get("key", "")), "gen_ai.tool.type": "function"}


def _nothing(said: Mapping[str, Any]) -> Named:
    del said
    return {}


_OTEL_TYPES: dict[str, Callable[[Mapping[str, Any]], Named]] = {
    "agent": _otel_agent,
    "generation": _otel_model,
    "embedding": _otel_model,
    "retriever": _otel_retriever,
    "tool": _otel_tool,
}
_SAID_OTHERWISE = frozenset({"input", "output", "run", "workflow", "version", "digest"})


def _messages(said: Mapping[str, Any]) -> Named:
    """Input and output as the conventions' messages, with text parts."""
    named: Named = {}
    given = said.get("input")
    if given is not None:
        messages = cast("list[Any]", given) if isinstance(given, list) else [{"role": "user", "content": given}]
        named["gen_ai.input.messages"] = json.dumps([_message(each) for each in messages], ensure_ascii=False)
    if "output" in said:
        answer = _message({"role": "assistant", "content": said["output"]})
        named["gen_ai.output.messages"] = json.dumps(
            [answer | {"finish_reason": said.get("finish", "stop")}], ensure_ascii=False
        )
    return named


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    return {"role": message["role"], "parts": [{"type": "text", "content": message["content"]}]}


def _plain(value: Any) -> Value:
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in cast("list[Any]", value)):
        return cast("list[str]", value)
    return _text(value)


def _metadata(value: Any) -> Value:
    """Metadata as SDK 4 sends it: text and whole numbers as they are, all else as JSON text that the server parses."""
    return value if isinstance(value, str | int) and not isinstance(value, bool) else _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
