"""Tools of a workflow, called once per idempotency key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

__all__ = ["ToolResult", "Tools"]


@dataclass(frozen=True, slots=True)
class ToolResult:
    status: Literal["done", "failed", "invalid"]
    value: Any = None
    error: str = ""
    cause: Literal["timeout", "unavailable", "error"] = "error"
    """Why it failed."""
    ms: float = 0.0
    repeated: bool = False
    """True when the idempotency key was known and the first call's result came back."""


class Tools(Protocol):
    def schema(self, name: str) -> dict[str, Any]:
        """JSON Schema of the tool's arguments."""
        ...

    async def call(self, name: str, arguments: Mapping[str, Any], *, key: str, run: str) -> ToolResult:
        """Call a tool once per `key`, however often it is requested."""
        ...
