"""Resends runs from the local store: those that a destination never confirmed, or all since a time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sluicegate.observe.exporters.export import QueuedExporter, Sender
from sluicegate.observe.tracing.reading.filters import RunFilter
from sluicegate.observe.tracing.store import Store

__all__ = ["ResendReport", "push"]

_IN_A_ROW = 3


@dataclass(frozen=True, slots=True)
class ResendReport:
    destination: str
    runs: int
    """Runs that arrived completely."""
    failures: Mapping[str, str]
    """The runs that did not, each with the reason. The others were sent all the same."""
    unsent: int = 0
    """Runs that were not tried any more, after several in a row had failed."""


def push(
    store: Store,
    senders: Sequence[Sender],
    *,
    since_ns: int = 0,
    again: bool = False,
    deadline_s: float = 30.0,
    progress: Callable[[], None] = lambda: None,
) -> list[ResendReport]:
    """Send the runs since a time that a destination has not confirmed; with `again` all of them.

    Repeating does no harm: ids are stable, so a server overwrites what it has. `deadline_s` is for one run. A run that
    a destination does not take is left for the next time; three in a row are a destination that takes nothing, and end
    the pushing to it. `progress` is called after each run that arrived. Raises `RunError` SG606.
    """

    def confirm(destination: str, counts: dict[str, int]) -> None:
        store.delivered(destination, counts, whole=True)

    results: list[ResendReport] = []
    for sender in senders:
        if again:
            rows = store.runs(RunFilter(since_ns=since_ns, shadow=True), limit=-1)
            runs = [row["run_id"] for row in reversed(rows)]
        else:
            runs = store.undelivered(sender.destination, since_ns=since_ns)
        exporter = QueuedExporter(sender, attempts=1)
        exporter.start(confirm)
        failures = dict[str, str]()
        in_a_row = tried = 0
        for run_id in runs:
            dropped = exporter.report().dropped
            exporter.offer(store.trace(run_id))
            flushed = exporter.flush(deadline_s)
            tried += 1
            report = exporter.report()
            if flushed and report.dropped == dropped:
                in_a_row = 0
                progress()
                continue
            failures[run_id] = report.reason or f"not sent within {deadline_s:g} s"
            in_a_row += 1
            if in_a_row == _IN_A_ROW or report.waiting:
                break
        exporter.close(1.0)
        results.append(ResendReport(sender.destination, tried - len(failures), failures, len(runs) - tried))
    return results
