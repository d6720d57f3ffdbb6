"""What nodes may know about their workflow."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sluicegate.state import Risk, State, Task

__all__ = ["CallAhead", "IntentFacts", "Semantic", "ToolFacts", "WorkflowFacts"]


@dataclass(frozen=True, slots=True)
class IntentFacts:
    """A workflow's settings of one intent."""

    task: Task
    risk: Risk
    max_tokens: int
    tool: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Arguments of the tool that follow from the intent alone."""


@dataclass(frozen=True, slots=True)
class Semantic:
    """Settings of semantic matching in the answer cache."""

    intents: frozenset[str]
    similarity: float
    """Minimum cosine similarity of two questions to be compared."""
    embedder: str
    """The role of the embedding model."""


@dataclass(frozen=True, slots=True)
class ToolFacts:
    """What is known of a tool besides its arguments."""

    hints: Mapping[str, bool] = field(default_factory=dict[str, bool])
    """What its server says of it, as attributes of the resource that policies decide on: ``read_only``, …"""
    usd: float | None = None
    """What a call costs; None where calls are not booked."""


@dataclass(frozen=True, slots=True)
class CallAhead:
    """The tool call that a run comes to next."""

    tool: str
    fields: Mapping[str, Any]
    """The JSON Schema of an `extract` node's own that the arguments were extracted by; empty for the tool's."""
    arguments: Mapping[str, Any] | None = None
    """The arguments that the config gives, with placeholders; None for those that were extracted."""


def _none_ahead(node: str, state: State) -> CallAhead | None:
    del node, state


@dataclass(frozen=True, slots=True)
class WorkflowFacts:
    """What nodes may know about their workflow."""

    name: str
    version: str
    digest: str
    intents: Mapping[str, IntentFacts]
    indexes: tuple[str, ...] = ()
    cache_ttl_s: float = 0.0
    """Cache TTL in seconds; 0 disables caching."""
    semantic: Semantic | None = None
    """Semantic matching in the answer cache; None: off."""
    time_zone: str = "UTC"
    """The zone of `hour`."""
    ahead: Callable[[str, State], CallAhead | None] = _none_ahead
    """The tool call that a run in this state may come to after a node, before a person is asked again; None: none."""
    tools: Mapping[str, ToolFacts] = field(default_factory=dict[str, ToolFacts])
    """Of the tools that it may call."""

    def hour(self, now: datetime) -> int:
        """The hour that policies see, 0 to 23."""
        return now.astimezone(ZoneInfo(self.time_zone)).hour
