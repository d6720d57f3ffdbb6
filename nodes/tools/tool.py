"""A tool is a typed function, its arguments' JSON Schema comes from its signature.

A package registers its own by an entry point in the group ``sluicegate.tools`` that names a `Tool`, made with the
`tool` decorator. A function's first parameter is the `ToolContext`; the rest are the arguments.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints, is_typeddict

from pydantic import BaseModel, ConfigDict, create_model

__all__ = ["Tool", "ToolContext", "tool"]


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool gets besides its arguments."""

    home: Path
    run: str
    key: str
    """The idempotency key; a tool that writes to an outside system passes it on."""


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    doc: str
    function: Callable[..., Any]
    arguments: type[BaseModel]
    timeout_s: float = 10.0
    retries: int = 0
    """How often a failed call is retried; only for tools whose repetition is harmless."""
    effects: bool = True
    """Whether it changes anything outside; a shadow run or a replay does not call one that does."""
    results: tuple[str, ...] | None = None
    """The keys of its result; None when they are not declared."""
    hints: Mapping[str, bool] = field(default_factory=dict[str, bool])
    """What the server of an MCP tool says of it: ``read_only``, ``destructive``, ``idempotent``, ``open_world``."""

    @property
    def schema(self) -> dict[str, Any]:
        return self.arguments.model_json_schema()

    @property
    def properties(self) -> Mapping[str, Mapping[str, Any]]:
        """The JSON Schema of each argument."""
        return self.schema.get("properties", {})


def tool(
    name: str, *, timeout_s: float = 10.0, retries: int = 0, effects: bool = True
) -> Callable[[Callable[..., Any]], Tool]:
    """Make a `Tool` of a typed function; annotate parameters with pydantic's `Field` for limits and descriptions.

    A `TypedDict` as its return type declares the keys of its result.
    """

    def register(function: Callable[..., Any]) -> Tool:
        hints = inspect.get_annotations(function, eval_str=True)
        parameters = list(inspect.signature(function).parameters.values())[1:]
        fields: dict[str, Any] = {
            parameter.name: (hints[parameter.name], ... if parameter.default is parameter.empty else parameter.default)
            for parameter in parameters
        }
        arguments = create_model(f"{name}_arguments", __config__=ConfigDict(extra="forbid"), **fields)
        doc, result = inspect.getdoc(function) or "", hints.get("return")
        results = tuple(get_type_hints(result)) if is_typeddict(result) else None
        return Tool(name, doc, function, arguments, timeout_s, retries, effects, results)

    return register
