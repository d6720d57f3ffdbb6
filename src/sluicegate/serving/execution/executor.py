"""Who carries what a service has accepted to its end: the one interface, and what crosses it.

A run goes on in segments: from its beginning, a decision, an answer or a deadline to its end or its next interrupt. A
service writes each down within a claim, and from then on whoever lives carries it out. On one machine that is the
service itself (`embedded`); where machines share a server it is any of them (`durable`).
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from sluicegate.errors import RunError
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.graphs.runtime.steps.streaming import OnText
from sluicegate.serving.progress import OnStep
from sluicegate.state import Priority

__all__ = ["Claim", "Executor", "Listeners", "Queued", "Stretch", "Tally"]


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
    priority: Priority = "normal"
    """Before which others it is carried where they wait (`turns`)."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who is told of a segment while it is carried. Where another process carries it, there are no pieces of text, and
    steps come with a delay."""

    on_step: OnStep | None = None
    on_text: OnText | None = None


@dataclass(slots=True)
class Tally:
    """What an executor has done since it was made, and does now."""

    carrying: int = 0
    ended: int = 0
    """Came to their end, or to their next interrupt."""
    failed: int = 0
    left: int = 0
    """Cut short by the end of this process, for others to go on with."""
    draining: bool = False


@dataclass(frozen=True, slots=True)
class Queued:
    """What waits in a queue for a process that has room."""

    queue: str
    length: int
    oldest_s: float
    """For so long the first of it has been waiting, in seconds by the server's clock; 0 where nothing is."""
    given_up: int
    """Runs that have ended a process too often and were left for a person; of a server, those of the last hour."""


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

    @property
    def tally(self) -> Tally: ...

    @property
    def recovered(self) -> Mapping[str, int]:
        """How many runs that a process had left this one has put back, or taken up, by the name of their workflow; the
        same object as long as it counts on."""
        ...

    def queued(self) -> Sequence[Queued]:
        """The queues of this workflow, of which there are several where processes with other packages serve it too.
        Blocks; raises `RunError` SG625 of the server, SG607 of the home."""
        ...

    async def failure(self, run: str, after: str) -> RunError | None:
        """What a run that has not ended failed with, where nobody goes on with it and the store of runs need not know
        it. `after` is as in `Stretch`, of its last segment."""
        ...

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
