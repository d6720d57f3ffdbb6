"""Runs that a service works on: each goes on without its caller, and a closing service waits for all of them."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from sluicegate.graphs.runtime.loop_thread import elsewhere
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.serving.limits import Busy

__all__ = ["Accepted", "RunsInProgress", "Work"]

log = logging.getLogger(__name__)

Work = Callable[["asyncio.Future[None]"], Coroutine[Any, Any, Outcome]]
"""Work on a run; it resolves the future once what its caller wants is on disk."""


class Accepted:
    """A request or a decision that a service has taken on."""

    def __init__(self, run: str, work: Work) -> None:
        self.run = run
        self._written = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(work(self._written))

    async def outcome(self) -> Outcome:
        """What becomes of it; who stops waiting cancels nothing. Raises what `Service.ask` raises."""
        return await asyncio.shield(asyncio.ensure_future(elsewhere(self.ended())))

    async def ended(self) -> Outcome:
        """The same on the service's own loop."""
        try:
            return await asyncio.shield(self.task)
        except asyncio.CancelledError:
            if not self.task.cancelled():
                raise
            raise Busy("the service is closing; the run continues after the restart", retry_after_s=5) from None

    async def durable(self) -> None:
        """Wait until it is on disk. Raises what has kept it from that."""
        await asyncio.wait({self.task, self._written}, return_when=asyncio.FIRST_COMPLETED)
        if not self._written.done():
            await self.ended()


class RunsInProgress:
    """By their ids. Used from the service's own loop."""

    def __init__(self) -> None:
        self._accepted: dict[str, Accepted] = {}

    def __contains__(self, run: str) -> bool:
        return run in self._accepted

    def get(self, run: str) -> Accepted | None:
        return self._accepted.get(run)

    def start(self, run: str, work: Work) -> Accepted:
        """Begin to work on a run. Of two who decide at a time the second is told so, under a name of its own."""
        accepted = Accepted(run, work)
        name = f"{run} {id(accepted)}" if run in self else run

        def done(task: asyncio.Task[Outcome]) -> None:
            del self._accepted[name]
            # the caller may be gone, and asyncio complains of unretrieved errors; the run's record has it
            if not task.cancelled():
                task.exception()

        self._accepted[name] = accepted
        accepted.task.add_done_callback(done)
        return accepted

    async def drain(self, seconds: float) -> None:
        """Let all of it finish for so long, then cut it short."""
        tasks = [accepted.task for accepted in self._accepted.values()]
        if tasks:
            log.info("%d runs in progress; waiting up to %g s", len(tasks), seconds)
            _, late = await asyncio.wait(tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
