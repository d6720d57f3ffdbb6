"""Who carries what a service has accepted to its end: the one interface, and what crosses it.

A run goes on in segments: from its beginning, a decision, an answer or a deadline to its end or its next interrupt. A
service writes each down within a claim, and from then on whoever lives carries it out. On one machine that is the
service itself (`embedded`); where machines share a server it is any of them (`durable`).
"""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from sluicegate.graphs.runtime.run import Outcome
from sluicegate.graphs.runtime.steps.streaming import OnText
from sluicegate.serving.progress import OnStep

__all__ = ["Claim", "Executor", "Listeners", "Stretch"]


@dataclass(frozen=True, slots=True)
class Stretch:
    """One stretch of a run. It names what is to be done and has none of its words: those are in the checkpoints."""

    run: str
    digest: str
    """The version that it goes on under."""
    began_on: str = ""
    """The version that the run began on, where it goes on under another."""
    after: str = ""
    """When what it follows was asked, ISO 8601; empty for the first, and for one that is carried on once more."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who is told of a segment while it is carried. Where another process carries it, there are no pieces of text, and
    steps come with a delay."""

    on_step: OnStep | None = None
    on_text: OnText | None = None


class Claim(AbstractAsyncContextManager["Claim"], Protocol):
    """A segment that is durably promised within the block, and carried out after it. A block that raises takes the
    promise back."""

    mine: bool
    """Another service, or another task of this one, has promised the same where this is False."""

    async def outcome(self) -> Outcome:
        """Wait for its end. Raises what the run has raised; where another process carried it, a `RunError` with that
        code."""
        ...


class Executor(Protocol):
    """Carries the segments of one workflow's runs. Used from the service's own loop."""

    def claim(self, segment: Stretch, listeners: Listeners) -> Claim:
        """Promise to carry a segment that is about to be written down; a promise that exists is joined."""
        ...

    async def open(self) -> None:
        """Begin to take up what was left: what was cut short, and what waits past its deadline."""
        ...

    async def drain(self, seconds: float) -> None:
        """Take nothing more, let what is carried here finish for so long, then cut it short: others go on with it."""
        ...

    async def close(self) -> None:
        """Leave what was not ended to others."""
        ...
