"""The exporter protocol, as used by the recorder."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sluicegate.observe.tracing.spans import Trace

__all__ = ["Confirm", "Exporter", "ExporterReport"]

Confirm = Callable[[str, dict[str, int]], None]
"""Called with a destination and the number of observations and scores per run that it has confirmed."""


@dataclass(frozen=True, slots=True)
class ExporterReport:
    destination: str
    sent: int
    dropped: int
    """Observations and scores that were not sent; the store still has them."""
    reason: str
    """Why the last ones were dropped, or why sending fails just now; empty when all is well."""
    waiting: int = 0
    failed_ns: int = 0
    """When the destination last took nothing, in nanoseconds since 1970; 0: never since the start."""


class Exporter(Protocol):
    @property
    def destination(self) -> str: ...

    @property
    def overwrites(self) -> bool:
        """Whether an observation that is sent again takes the place of the first."""
        ...

    def start(self, confirm: Confirm) -> None: ...

    def offer(self, trace: Trace) -> None:
        """Take a part of a trace, or drop and count it; returns at once."""
        ...

    def flush(self, deadline_s: float) -> bool:
        """Send what is queued; False when the deadline or a failure of the server came first."""
        ...

    def close(self, deadline_s: float) -> None: ...

    def report(self) -> ExporterReport: ...
