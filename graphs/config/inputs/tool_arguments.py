"""Checks of what tools are called with: extracted by a node, implied by an intent or given by the config."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import BaseModel

from sluicegate.graphs.config.models import WorkflowConfig
from sluicegate.graphs.config.source import Pointer
from sluicegate.graphs.config.validate import Faults
from sluicegate.nodes.kinds.call_tool import CallTool
from sluicegate.nodes.kinds.extract import Extract
from sluicegate.nodes.prompts import placeholders
from sluicegate.nodes.tools.tool import Tool

__all__ = ["called", "check_arguments"]


def called(settings: CallTool, config: WorkflowConfig, tools: Mapping[str, Tool]) -> list[Tool]:
    """The known tools that a node may call."""
    names = [settings.tool] if settings.tool else [intent.tool or "" for intent in config.intents.values()]
    return [tools[name] for name in dict.fromkeys(names) if name in tools]


def check_arguments(
    config: WorkflowConfig, settings: Mapping[str, BaseModel], tools: Mapping[str, Tool], faults: Faults
) -> None:
    """SG127: a call with an argument that its tool does not take is refused."""
    calling = {name: own for name, own in settings.items() if isinstance(own, CallTool)}
    extracted = [own for own in calling.values() if own.arguments is None]
    fixed = [own.tool for own in extracted if own.tool]
    _check_extracted(settings, [tool for own in extracted for tool in called(own, config, tools)], faults)
    for node, own in calling.items():
        for key, value in (own.arguments or {}).items():
            _check_given(key, value, called(own, config, tools), ("nodes", node, "arguments", key), faults)
    for label, intent in config.intents.items():
        known = [tools[name] for name in ([intent.tool] if intent.tool else fixed) if name in tools]
        for key, value in intent.fields.items():
            _check_given(key, value, known, ("intents", label, "fields", key), faults)


def _check_given(key: str, value: Any, tools: Sequence[Tool], at: Pointer, faults: Faults) -> None:
    if not tools:
        return  # an unknown tool is reported where it is named
    schemas = [tool.properties[key] for tool in tools if key in tool.properties]
    filled = isinstance(value, str) and any(name != "question" for name, _ in placeholders(value))
    if not schemas:
        what = f"{tools[0].name} takes no argument {key!r}"
        faults.add("SG127", what, at, choices=_legal(tools), word=key, of_key=True)
    elif not filled and all("enum" in schema and value not in schema["enum"] for schema in schemas):
        legal = [str(one) for schema in schemas for one in schema["enum"]]
        faults.add("SG127", f"{key} of {tools[0].name} is never {value!r}", at, choices=legal, word=str(value))


def _legal(tools: Sequence[Tool]) -> dict[str, None]:
    return dict.fromkeys(name for tool in tools for name in tool.properties)


def _check_extracted(settings: Mapping[str, BaseModel], tools: Sequence[Tool], faults: Faults) -> None:
    """A call gets all that was extracted last; whether that is this node's cannot be said here, so it is a warning."""
    for node, own in settings.items():
        wanted: Any = (own.fields or {}).get("properties", {}) if isinstance(own, Extract) and tools else {}
        for key in cast("dict[str, Any]", wanted) if isinstance(wanted, dict) else ():
            if not any(key in tool.properties for tool in tools):
                what = f"no tool that is called here takes the argument {key!r}"
                at: Pointer = ("nodes", node, "fields", "properties", key)
                faults.add("SG127", what, at, choices=_legal(tools), word=key, of_key=True, severity="warning")
