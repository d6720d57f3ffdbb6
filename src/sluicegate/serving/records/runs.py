"""The recorded runs of the workflows that are served, each by its own policies and as far as they let a person see.

Readers block, and are for threads; `feed` is for the event loop.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sluicegate.errors import NotFoundError, SluicegateError
from sluicegate.graphs.config.load import Workflow
from sluicegate.graphs.session.reading_rights import ReadingRights, RecordedRun
from sluicegate.observe.tracing.masking import Masking
from sluicegate.observe.tracing.reading.feed import RunFeed
from sluicegate.observe.tracing.reading.filters import RunFilter
from sluicegate.observe.tracing.reading.pages import RunPage, last_change, page_of_runs, requesters
from sluicegate.observe.tracing.storing.shared import open_store
from sluicegate.serving.reading import unknown_run
from sluicegate.serving.service import Service
from sluicegate.state import Principal

__all__ = ["RunRecords"]


class RunRecords:
    """Of one process; opened and closed with the services, whose store it reads by a connection of its own."""

    def __init__(self, services: Iterable[Service]) -> None:
        self._services = services
        self._rights = ReadingRights()

    def open(self) -> None:
        """Raises `RunError` as `Store` does."""
        self.store = open_store()
        self.feed = RunFeed(self.store)

    def close(self) -> None:
        self.feed.close()
        self.store.close()

    def sees(self, row: Mapping[str, Any], asker: Principal) -> bool:
        """Whether a row of `runs` is of a workflow that is served, and policy lets them see it."""
        service = self._of(row["workflow"])
        return service is not None and not row["shadow"] and service.reader.sees(row, asker)

    def sees_all(self, asker: Principal) -> bool:
        """Whether policy lets them see every run of at least one workflow."""
        return any(service.sees_all(asker) for service in self._services)

    def within(self, which: RunFilter, asker: Principal) -> RunFilter:
        """The same filter over what they may see."""
        everybody = requesters(self.store)
        return replace(which, within=tuple(service.reader.sight(everybody, asker) for service in self._services))

    def page(self, which: RunFilter, asker: Principal, *, limit: int, after: str = "") -> tuple[RunPage, int]:
        """A page as `page_of_runs` gives it, and the number of the last change that it shows."""
        seen = last_change(self.store)
        within = self.within(which, asker)
        found = page_of_runs(self.store, within, limit=limit, after=after, shown=lambda row: self.sees(row, asker))
        return found, seen

    def one(self, run: str, asker: Principal) -> RecordedRun:
        """A run by its whole id. Raises `NotFoundError` SG603, also for one that they may not see."""
        try:
            row = self.store.run(run)
        except NotFoundError:
            raise unknown_run(run) from None
        if row["run_id"] != run or not self.sees(row, asker):
            raise unknown_run(run)
        return self._rights.shown(self.store, row, asker)

    def version(self, digest: str) -> Workflow | None:
        """The version that ran; None where no copy of it can be read any more."""
        try:
            return self._rights.version(digest)
        except SluicegateError:
            return None

    def names(self, person: str) -> tuple[str, ...]:
        """What traces call a person: as they are, or hashed."""
        return person, Masking().user(person)

    def _of(self, workflow: str) -> Service | None:
        return next((service for service in self._services if service.name == workflow), None)
