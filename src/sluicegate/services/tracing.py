"""Observations of a run, recorded by a tracer."""

from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

from sluicegate.state import Branch

__all__ = ["Observation", "Span", "Tracer"]

Observation = Literal[
    "agent", "chain", "span", "event", "generation", "retriever", "tool", "guardrail", "evaluator", "embedding"
]
"""Langfuse's observation types."""


class Span(Protocol):
    def set(self, **attributes: Any) -> None:
        """Add attributes; values are JSON data."""
        ...

    def fail(self, message: str) -> None: ...

    def warn(self, message: str) -> None:
        """Mark something that a reader of the trace should notice and that is not a failure."""
        ...


class Tracer(Protocol):
    def node(
        self, name: str, kind: str, type: Observation, *, visit: int = 1, **attributes: Any
    ) -> AbstractContextManager[Span]:
        """Open the observation of one visit of a node."""
        ...

    def beneath(self, node: str, visit: int) -> AbstractContextManager[None]:
        """Put what the block records beneath the observation of a visit, whichever process records that, and when."""
        ...

    def branch(
        self, node: str, branch: Branch, *, confidence: float | None = None, threshold: float | None = None
    ) -> None:
        """Record which branch a node took, and why."""
        ...

    def span(self, name: str, type: Observation, **attributes: Any) -> AbstractContextManager[Span]:
        """Open an observation under the current one; it ends with the block and never raises by itself."""
        ...

    def score(self, name: str, value: float | bool | str, *, comment: str = "") -> None:
        """Score the current trace."""
        ...
