"""The versions of a workflow that a service has open: the serving one, and those with unfinished runs.

The champion of the home serves, or the given workflow while nothing was promoted. `refresh` follows the
pointer, `edited` what has become of the given file: another version is opened beside the one that serves and takes its
place when it is ready, so a change interrupts nobody, and one that cannot be opened changes nothing but `fault`.
"""

import asyncio
import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from sluicegate.errors import SluicegateError
from sluicegate.evals.promotion import champions
from sluicegate.graphs.config.load import Workflow, load, refreshed
from sluicegate.graphs.runtime.factory import Opened, open_workflow
from sluicegate.graphs.runtime.versions import kept
from sluicegate.observe.tracing.spans import Trace
from sluicegate.serving.progress import watched

__all__ = ["Versions"]

_KEPT_OPEN = 4
"""Unused versions held open besides the serving one; an older one is reopened when needed."""
_AGAIN_S = 5.0
"""Seconds until a version that could not be opened is tried again."""

log = logging.getLogger(__name__)


class Versions:
    """Safe to use from any thread. Opening one takes as long as `open_workflow`, and raises what it raises."""

    def __init__(
        self,
        config: Path | Workflow,
        *,
        follow: bool = True,
        open_version: Callable[[Path | Workflow], Opened] = open_workflow,
    ) -> None:
        """`follow` False serves the given workflow regardless of promotions."""
        self.given = config if isinstance(config, Workflow) else load(config)
        """As its file was last read without a fault."""
        self.name, self._follow, self._open_version = self.given.name, follow, open_version
        self._lock, self._opening = threading.Lock(), threading.Lock()
        self._used: Counter[str] = Counter()
        self._open: OrderedDict[str, Opened] = OrderedDict()
        self._watchers: list[Callable[[Trace], None]] = []
        self._failed_at = -_AGAIN_S
        self._unpromoted: SluicegateError | None = None
        self.unloaded: SluicegateError | None = None
        """Why the file, as it is now, is not served."""
        self.promoted = 0
        """The number of the promotion or rollback that is followed; 0 for the named file."""
        self._path: Path | None = None
        self._refused = ""
        if not (follow and self.refresh()):
            self.serving = self._opened(self.given)

    serving: Opened
    """The version for new requests."""

    @property
    def fault(self) -> SluicegateError | None:
        """Why the version that should serve is not open."""
        return self._unpromoted or (None if self.promoted else self.unloaded)

    def edited(self, fresh: Workflow) -> None:
        """Serve the given file as it is now, unless a promoted version serves. Raises what opening it raises."""
        before, self.given = self.serving, fresh
        if self.promoted or fresh.digest == before.workflow.digest:
            return
        opened = self.of(fresh.digest, fresh)
        if self.serving is before:  # no promotion came first
            self.serving = opened
            log.info("%s is served as its files are now, %s", self.name, fresh.digest[:12])

    def refresh(self) -> bool:
        """Follow the pointer; True when it names the serving version. Costs one `stat` when nothing has changed, and
        nothing with a server."""
        if not self._follow:
            return False
        try:
            found = champions.served(self.name)
            if found is None or found[1] == self._path:
                self._unpromoted = None
                return found is not None
        except SluicegateError as error:
            return self._stays(error)
        if time.monotonic() - self._failed_at < _AGAIN_S:
            return False
        entry, path = found
        try:
            self.serving = self.of(entry["digest"], path)
        except SluicegateError as error:
            self._failed_at = time.monotonic()
            return self._stays(error)
        self._path, self.promoted, self._unpromoted = path, entry["version"], None
        log.info("%s is served by version %s, %s", self.name, self.serving.workflow.version, entry["digest"][:12])
        return True

    def _stays(self, error: SluicegateError) -> Literal[False]:
        """Serve what is served, as the pointer cannot be followed. Raises `error` where nothing is served yet."""
        told, self._unpromoted = self._unpromoted, error
        if not hasattr(self, "serving"):
            raise error
        if str(told) != str(error):
            log.warning("%s stays with version %s: %s", self.name, self.serving.workflow.version, error)
        return False

    def refresh_prompts(self) -> None:
        """Serve the present texts of the prompts that are managed in Langfuse; an unusable one changes nothing.

        Costs nothing when the serving version has none, which every promoted copy has not: it keeps the texts that it
        was compared with.
        """
        before = self.serving
        try:
            fresh = refreshed(before.workflow)
            if fresh is None:
                return
            opened = self._opened(fresh)
        except SluicegateError as error:
            if str(error) != self._refused:
                log.warning("%s stays with %s: %s", self.name, before.workflow.digest[:12], error)
            self._refused = str(error)
            return
        self._refused = ""
        if self.serving is before:  # no promotion came first
            self.serving = opened
            log.info("%s is served with changed prompts, %s", self.name, opened.workflow.digest[:12])

    @asynccontextmanager
    async def using(self, digest: str) -> AsyncGenerator[Opened]:
        """The version of this digest, open while the block lasts. Raises `RunError` SG604 when no copy of it was
        kept."""
        with self._lock:
            self._used[digest] += 1
        try:
            yield await asyncio.to_thread(self.of, digest)
        finally:
            with self._lock:
                self._used[digest] -= 1
            await asyncio.to_thread(self._close_idle)

    def of(self, digest: str, source: Path | Workflow | None = None) -> Opened:
        # many who want the same at a time get one
        with self._opening:
            with self._lock:
                if digest in self._open:
                    self._open.move_to_end(digest)
                    return self._open[digest]
            return self._opened(source or kept(digest))

    def watch(self, watcher: Callable[[Trace], None]) -> None:
        """As `Service.watch`."""
        with self._lock:
            self._watchers.append(watcher)
            for each in self._open.values():
                each.tracer.watch(watcher)

    def close(self) -> None:
        """Close all that are open."""
        with self._lock:
            opened = [*self._open.values()]
            self._open.clear()
        for each in opened:
            each.close()

    def _opened(self, source: Path | Workflow) -> Opened:
        opened = self._open_version(source)
        opened.runner.services = watched(opened.runner.services)
        with self._lock:
            self._open[opened.workflow.digest] = opened
            for watcher in self._watchers:
                opened.tracer.watch(watcher)
        self._close_idle(opened.workflow.digest)
        return opened

    def _close_idle(self, newest: str = "") -> None:
        """Close what nobody uses, but for the last few."""
        with self._lock:
            needed = {newest, self.serving.workflow.digest if hasattr(self, "serving") else ""}
            idle = [digest for digest in self._open if digest not in needed and not self._used[digest]]
            closed = [self._open.pop(digest) for digest in idle[:-_KEPT_OPEN]]
            self._used = +self._used
        for each in closed:
            each.close()
