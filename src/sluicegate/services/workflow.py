"""What nodes may know of the workflow they are in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sluicegate.state import Risk, Task

__all__ = ["IntentFacts", "Semantic", "WorkflowFacts"]


@dataclass(frozen=True, slots=True)
class IntentFacts:
    """What a workflow says about one intent."""

    task: Task
    risk: Risk
    max_tokens: int
    tool: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Arguments of the tool that follow from the intent alone."""


@dataclass(frozen=True, slots=True)
class Semantic:
    """Where a workflow lets its cache answer a question that is asked in other words."""

    intents: frozenset[str]
    similarity: float
    """The least cosine similarity of two questions that are compared at all."""
    embedder: str
    """The role of the embedding model."""


@dataclass(frozen=True, slots=True)
class WorkflowFacts:
    """What nodes may know of the workflow they are in."""

    name: str
    version: str
    digest: str
    intents: Mapping[str, IntentFacts]
    indexes: tuple[str, ...] = ()
    cache_ttl_s: float = 0.0
    """Cache TTL in seconds; 0 disables caching."""
    semantic: Semantic | None = None
    """For which requests an answer may be served to a question in other words; None: for none."""
