"""Who is next: what waits is ordered by priority, and nothing waits for ever.

Of all that waits, the one that is `due` first is next. When that is depends on its own arrival and level alone, so it
ages: a request is overtaken only by those that come within the difference of the two levels after it, however many of
higher levels follow. In queueing theory it is a dynamic priority by urgency numbers: J. R. Jackson, "Some problems in
queueing with dynamic priorities", Naval Research Logistics Quarterly 7 (1960), 235-249.
"""

import asyncio
import heapq
import itertools
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

from sluicegate.state import Priority

__all__ = ["LATER_S", "Turns", "due"]

LATER_S: Mapping[Priority, float] = {"high": 0.0, "normal": 60.0, "low": 600.0}
"""By how many seconds a level comes after one that arrives at the same time."""


def due(priority: Priority, at: float) -> float:
    """When something is due that has arrived `at`, in seconds of the same clock."""
    return at + LATER_S[priority]


class Turns:
    """So many at a time; the others wait, and the one that is due first is next. Used from one event loop."""

    def __init__(self, many: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._free, self._clock = many, clock
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._arrivals = itertools.count()

    def locked(self) -> bool:
        """Whether whoever comes now has to wait."""
        return self._free == 0

    @asynccontextmanager
    async def at(self, priority: Priority) -> AsyncGenerator[None]:
        """Have a turn while the block lasts."""
        await self._begin(priority)
        try:
            yield
        finally:
            self._end()

    async def _begin(self, priority: Priority) -> None:
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (due(priority, self._clock()), next(self._arrivals), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                # it stays in the heap until it would be next
                raise
            self._end()
            raise

    def _end(self) -> None:
        """Hand a turn on; it is free only where nobody waits, so that no newcomer comes before who does."""
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
