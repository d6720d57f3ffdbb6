"""Carrying one segment of a run to its end or its next interrupt, in this process, for whichever executor."""

import asyncio
import logging
from collections.abc import Callable

from sluicegate.errors import NotFoundError, NotWaitingError
from sluicegate.graphs.runtime.factory import Opened
from sluicegate.graphs.runtime.run import Outcome, Runner
from sluicegate.graphs.runtime.run_lock import RunBusy
from sluicegate.graphs.runtime.steps.streaming import sending
from sluicegate.graphs.session.checkpoint_reader import approval_state
from sluicegate.observe.tracing.store import Store
from sluicegate.serving.execution.executor import Listeners, Stretch
from sluicegate.serving.progress import telling
from sluicegate.serving.versions import Versions

__all__ = ["Carrier"]

_POLL_S = 0.1

log = logging.getLogger(__name__)


class Carrier:
    """Used from the service's own loop."""

    def __init__(self, versions: Versions, store: Store, finished: Callable[[Outcome], object]) -> None:
        """`finished` is told the outcome of each segment that was carried here, once."""
        self.versions = versions
        self._store, self._finished = store, finished

    async def carry(
        self, segment: Stretch, turns: asyncio.Semaphore, listeners: Listeners, *, again: bool = False
    ) -> Outcome:
        """Go on with a run that is written down, in one of the `turns`. `again`: somebody may have begun with it.

        Waits for whoever else is at the run, which keeps no turn meanwhile. Raises what `Runner.resume` does.
        """
        while True:
            try:
                async with turns:
                    with telling(listeners.on_step), sending(listeners.on_text):
                        return await (self.take_up(segment) if again else self._go_on(segment))
            except RunBusy:
                await asyncio.sleep(_POLL_S)

    async def _go_on(self, segment: Stretch) -> Outcome:
        async with self.versions.using(segment.digest) as opened:
            outcome = await _runner(opened, segment).resume(segment.run)
        # one that was over already has been told
        if outcome.ms:
            self._finished(outcome)
        return outcome

    async def take_up(self, segment: Stretch) -> Outcome:
        """Go on with what somebody has left. Raises as `Runner.recover`."""
        async with self.versions.using(segment.digest) as opened:
            runner = _runner(opened, segment)
            try:
                record = await asyncio.to_thread(self._store.run, segment.run)
            except NotFoundError:
                record = {"status": "running"}
            outcome = await (runner.recover if record["status"] == "running" else runner.resume)(segment.run)
        self._finished(outcome)
        return outcome

    async def expire(self, segment: Stretch) -> Outcome:
        """Go on with a run that nobody has decided on in time; one that somebody has decided on is shown."""
        async with self.versions.using(segment.digest) as opened:
            try:
                outcome = await opened.runner.expire(segment.run)
            except (NotWaitingError, RunBusy):
                return await self.shown(segment.run)
        self._finished(outcome)
        return outcome

    async def shown(self, run: str) -> Outcome:
        """Where a run is now, by its records. Raises `RunError` SG603."""
        standing = await asyncio.to_thread(approval_state, run)
        return Outcome(run, standing.state, 0.0, standing.question if standing.open else None)


def _runner(opened: Opened, segment: Stretch) -> Runner:
    """Under the version that was chosen for it, which a decision may have made another than its first."""
    return opened.runner.migrating(segment.began_on) if segment.began_on else opened.runner
