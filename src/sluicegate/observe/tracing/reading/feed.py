"""The runs as they begin and change, for any number of viewers by one reader of the store.

Every change of a run has a number in the store, in the order of the commits and never used again, whichever process
made it. One task of the event loop reads what is new, and only while somebody looks; the latest changes are kept, and
each viewer takes from them what lies behind the number that it has seen. So a viewer costs a number, and one that was
away for too long, or reads too slowly, is told to begin anew.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

from sluicegate.errors import SluicegateError
from sluicegate.observe.tracing.reading.pages import last_change
from sluicegate.observe.tracing.store import Store, decoded_run
from sluicegate.storage.sqlite import written_at

__all__ = ["Anew", "Change", "RunFeed"]

log = logging.getLogger(__name__)

_EVERY_S = 0.25
_AT_ONCE = 200
"""Changes that one reading takes."""
_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Change:
    """A run as it is after a change."""

    seq: int
    run: Mapping[str, Any]
    """Its row of `runs`."""
    shapes: dict[str, str] = field(default_factory=dict[str, str])
    """What one viewer has made of it for all."""


@dataclass(frozen=True, slots=True)
class Anew:
    """What lies between is gone: read the runs again."""


class RunFeed:
    """Of one store, in one event loop."""

    def __init__(self, store: Store, *, every_s: float = _EVERY_S, kept: int = _KEPT) -> None:
        self._store, self._every_s = store, every_s
        self.latest: deque[Change] = deque(maxlen=kept)
        self._before = self.last = 0
        """The numbers before the first change that is kept, and of the last."""
        self._news = asyncio.Event()
        self._beginning = asyncio.Lock()
        self._reader: asyncio.Task[None] | None = None
        self._closed = False
        self.viewers = 0

    async def follow(self, seen: int, *, alive_s: float = 15.0) -> AsyncGenerator[Change | Anew | None]:
        """Every change behind number `seen`, in order; None where for `alive_s` there was none. Ends with `Anew` where
        some of them are kept no longer or `seen` is none of this store's, and when the feed is closed."""
        self.viewers += 1
        try:
            await self._begin(seen)
            if seen > self.last and seen > await asyncio.to_thread(last_change, self._store):
                yield Anew()
                return
            while not self._closed:
                if seen < self._before:
                    yield Anew()
                    return
                for change in self._behind(seen):
                    seen = change.seq
                    yield change
                if seen >= self.last and not self._closed:
                    try:
                        async with asyncio.timeout(alive_s):
                            await self._news.wait()
                    except TimeoutError:
                        yield None
        finally:
            self.viewers -= 1
            if not self.viewers and self._reader:
                self._reader.cancel()
                self._reader = None

    def _behind(self, seen: int) -> list[Change]:
        return [*takewhile(lambda change: change.seq > seen, reversed(self.latest))][::-1]

    async def _begin(self, seen: int) -> None:
        async with self._beginning:
            if self._reader is None:
                # what nobody followed was not read
                self.latest.clear()
                last = await asyncio.to_thread(last_change, self._store)
                reachable = last - (self.latest.maxlen or 0) <= seen <= last
                self._before = self.last = seen if reachable else last
                self._reader = asyncio.create_task(self._read())

    def close(self) -> None:
        """Let every viewer end."""
        self._closed = True
        self._tell()

    def _tell(self) -> None:
        # who waits now is woken; who comes later waits for what comes then
        self._news.set()
        self._news = asyncio.Event()

    async def _read(self) -> None:
        written: object = None
        while True:
            present = written_at(Path(self._store.path))
            if present != written or present is None:
                try:
                    await self._take()
                    written = present
                except SluicegateError as error:
                    # one that is locked for long is read the next time
                    log.warning("changes of runs cannot be read: %s", error.code)
            await asyncio.sleep(self._every_s)

    async def _take(self) -> None:
        more = True
        while more:
            found = await asyncio.to_thread(self._since, self.last)
            more = len(found) == _AT_ONCE
            for change in found:
                if len(self.latest) == self.latest.maxlen:
                    self._before = self.latest[0].seq
                self.latest.append(change)
                self.last = change.seq
            if found:
                self._tell()

    def _since(self, seq: int) -> list[Change]:
        rows = self._store.query(
            "SELECT changes.seq, runs.* FROM changes JOIN runs USING (run_id) WHERE seq > ? ORDER BY seq LIMIT ?",
            (seq, _AT_ONCE),
        )
        return [Change(row.pop("seq"), decoded_run(row)) for row in rows]
