"""Attribute names: ours as OpenTelemetry's GenAI conventions and as Langfuse's attributes.

Sources: OpenTelemetry semantic conventions for generative AI (``gen_ai.*``, development status), and the attribute
names of the Langfuse SDKs 4 and 5 (`langfuse._client.attributes`). What neither names goes under ``sluicegate.`` or
into Langfuse's metadata. Values are strings, numbers, booleans or lists of strings, all else is JSON text.
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias, cast

from sluicegate.observe.tracing.spans import Record, RunInfo

__all__ = ["Named", "langfuse_attributes", "langfuse_run", "otel_attributes", "otel_run"]

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
        "langfuse.version": info.digest,
        "langfuse.trace.metadata.run": info.run_id,
        "langfuse.trace.metadata.workflow_version": info.version,
        **{f"langfuse.trace.metadata.{key}": _metadata(value) for key, value in info.metadata.items()},
    }
    if info.session:
        named["session.id"] = info.session
    if info.user:
        named["user.id"] = info.user
    return named


def langfuse_attributes(record: Record) -> Named:
    """One observation's own attributes."""
    said = record.attributes
    named: Named = {"langfuse.observation.type": record.type, "langfuse.observation.level": record.level}
    if record.message:
        named["langfuse.observation.status_message"] = record.message
    given = _first(said, "input", "query", "arguments", "values")
    if given is not None:
        named["langfuse.observation.input"] = _text(given)
    result = _first(said, "output", "documents", "result", "verdicts", "verdict", "tagged", "answer", "to")
    if result is not None:
        named["langfuse.observation.output"] = _text(result)
    if record.type in ("generation", "embedding"):
        named |= _langfuse_model(said)
    for key, value in said.items():
        if value is not None and key not in ("input", "output", "query", "arguments", "result"):
            named[f"langfuse.observation.metadata.{key}"] = _metadata(value)
    return named


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


def _first(said: Mapping[str, Any], *keys: str) -> Any:
    return next((said[key] for key in keys if said.get(key) is not None), None)


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
