"""Carrying one segment of a run to its end or its next interrupt, in this process, for whichever executor."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

from sluicegate.errors import NotFoundError, NotWaitingError, SluicegateError
from sluicegate.graphs.runtime.factory import Opened
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.graphs.runtime.run import Runner
from sluicegate.graphs.runtime.run_lock import RunBusy
from sluicegate.graphs.runtime.steps.streaming import sending
from sluicegate.graphs.session.checkpoint_reader import approval_state
from sluicegate.observe.tracing.store import Store
from sluicegate.serving.execution.executor import Listeners, Stretch
from sluicegate.serving.execution.suspects import Solitude, Suspects, Suspicion, given_up
from sluicegate.serving.execution.turns import Turns
from sluicegate.serving.progress import telling
from sluicegate.serving.versions import Versions

__all__ = ["Carrier"]

_POLL_S = 0.1

log = logging.getLogger(__name__)


class Carrier:
    """Used from the service's own loop."""

    def __init__(
        self,
        versions: Versions,
        store: Store,
        suspects: Suspects,
        solitude: Solitude,
        finished: Callable[[Outcome], object],
    ) -> None:
        """`finished` is told the outcome of each segment that was carried here, once."""
        self.versions, self.suspects = versions, suspects
        self._store, self._solitude, self._finished = store, solitude, finished

    async def carry(
        self, segment: Stretch, turns: Turns, listeners: Listeners, left: Suspicion | None = None
    ) -> Outcome:
        """Go on with a run that is written down, in one of the `turns`. `left`: somebody may have begun with it, and
        this is what speaks against it.

        Waits for whoever else is at the run, which keeps no turn meanwhile. Raises what `Runner.resume` does, and
        `RunError` SG683 where it is given up.
        """
        if left and left.given_up:
            await self._give_up_unless_over(segment)
        while True:
            try:
                async with turns.at(segment.priority), self._among_others(segment.run, left):
                    with telling(listeners.on_step), sending(listeners.on_text):
                        outcome = await (self._go_on(segment) if left is None else self._take_up(segment))
                break
            except RunBusy:
                await asyncio.sleep(_POLL_S)
            except SluicegateError:
                await self._ends(segment.run, left)
                raise
        await self._ends(segment.run, left)
        return outcome

    @asynccontextmanager
    async def _among_others(self, run: str, left: Suspicion | None) -> AsyncGenerator[None]:
        """Carry it while the block lasts: alone, where it is a suspect."""
        if left and left.suspect:
            async with self._solitude.alone(), self.suspects.tried(run):
                yield
        else:
            async with self._solitude.beside():
                yield

    async def _ends(self, run: str, left: Suspicion | None) -> None:
        """Its process lives, so it is acquitted."""
        if left and left.times:
            with suppress(SluicegateError):
                await asyncio.to_thread(self.suspects.ends, run)

    async def _give_up_unless_over(self, segment: Stretch) -> None:
        if (await self.shown(segment.run)).status not in ("running", "waiting"):
            return  # a person has gone on with it
        async with self.versions.using(segment.digest) as opened:
            await _runner(opened, segment).give_up(segment.run, given_up(segment.run))

    async def _go_on(self, segment: Stretch) -> Outcome:
        async with self.versions.using(segment.digest) as opened:
            outcome = await _runner(opened, segment).resume(segment.run)
        # one that was over already has been told
        if outcome.ms:
            self._finished(outcome)
        return outcome

    async def _take_up(self, segment: Stretch) -> Outcome:
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

    async def expire(self, segment: Stretch, left: Suspicion) -> Outcome:
        """Go on with a run that nobody has decided on in time; one that somebody has decided on is shown. Raises
        `RunError` SG683 where it is given up."""
        if left.given_up:
            await self._give_up_unless_over(segment)
        async with self._among_others(segment.run, left), self.versions.using(segment.digest) as opened:
            try:
                outcome = await opened.runner.expire(segment.run)
            except (NotWaitingError, RunBusy):
                outcome = await self.shown(segment.run)
            else:
                self._finished(outcome)
        await self._ends(segment.run, left)
        return outcome

    async def shown(self, run: str) -> Outcome:
        """Where a run is now, by its records. Raises `RunError` SG603."""
        standing = await asyncio.to_thread(approval_state, run)
        return Outcome(run, standing.state, 0.0, standing.question if standing.open else None)


def _runner(opened: Opened, segment: Stretch) -> Runner:
    """Under the version that was chosen for it, which a decision may have made another than its first."""
    return opened.runner.migrating(segment.began_on) if segment.began_on else opened.runner
