"""Resends runs from the local store: those that a destination never confirmed, or all since a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sluicegate.observe.exporters.export import QueuedExporter, Sender
from sluicegate.observe.tracing.store import RunFilter, Store

__all__ = ["ResendReport", "push"]


@dataclass(frozen=True, slots=True)
class ResendReport:
    destination: str
    runs: int
    """Runs that arrived completely."""
    failed: str = ""
    """Why the rest did not; empty when all arrived."""


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

    Repeating does no harm: ids are stable, so a server overwrites what it has. `deadline_s` is for one run; the first
    run that fails ends the pushing to its destination. `progress` is called after each run. Raises `RunError` SG606.
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
        done = 0
        for run_id in runs:
            exporter.offer(store.trace(run_id))
            if not exporter.flush(deadline_s) or exporter.report().dropped:
                break
            done += 1
            progress()
        exporter.close(1.0)
        results.append(ResendReport(sender.destination, done, exporter.report().reason if done < len(runs) else ""))
    return results
