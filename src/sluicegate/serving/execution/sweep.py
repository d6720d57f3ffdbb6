"""What nobody works on in this home: runs that a killed service left are resumed, waiting ones past their deadline
refused."""

import asyncio
import logging
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from sluicegate.errors import NotFoundError, SluicegateError
from sluicegate.graphs.runtime.intake import priority_of
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.graphs.runtime.run_lock import RunBusy
from sluicegate.graphs.session.checkpoint_reader import overdue, recorded
from sluicegate.serving.execution.carrier import Carrier
from sluicegate.serving.execution.executor import Listeners, Stretch
from sluicegate.serving.execution.recovery import Recovery
from sluicegate.serving.execution.suspects import Suspicion
from sluicegate.serving.execution.turns import Turns
from sluicegate.serving.in_progress import RunsInProgress
from sluicegate.serving.limits import Busy
from sluicegate.state import Run

__all__ = ["Sweep"]

_EVERY_S = 30.0
_TRIES = 3
"""How often this process goes on with a run that fails, without ending it."""

log = logging.getLogger(__name__)


class Sweep:
    """Takes up what was left, side by side, as many runs as may run. Used from the service's loop."""

    def __init__(self, carrier: Carrier, recovery: Recovery, in_progress: RunsInProgress, *, turns: Turns) -> None:
        """A run holds one of `turns` while it is taken up."""
        self._carrier, self._recovery, self._in_progress, self._turns = carrier, recovery, in_progress, turns
        self.recovered = Counter[str]()
        """Runs that a killed service had left, by the name of their workflow."""
        self._sweeping = asyncio.Lock()
        self._failed = Counter[str]()
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Look at once, and again every `_EVERY_S`."""
        self._task = asyncio.create_task(self._again_and_again())

    async def end(self) -> None:
        """Look no more; what was taken up goes on."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _again_and_again(self) -> None:
        while True:
            try:
                await self.once()
            except Exception:
                # whatever it was, requests must still be answered
                log.exception("what was left of %s could not be looked for", self._carrier.versions.name)
            await asyncio.sleep(_EVERY_S)

    async def once(self) -> None:
        """Look once for what was left, and work on it to its end."""
        # of two sweeps at a time, each would run as many
        async with self._sweeping:
            await self._swept()

    async def _swept(self) -> None:
        async def in_turn(work: Coroutine[Any, Any, None]) -> None:
            async with self._turns.at("high"):
                await work

        versions = self._carrier.versions
        interrupted = await asyncio.to_thread(self._recovery.cut_short, versions.name)
        late = await asyncio.to_thread(overdue, versions.name, versions.serving.runner.services.now())
        work = [self._recover(run, digest) for run, digest in interrupted if self._goes_on(run)]
        work += [in_turn(self._expire(run)) for run in late if self._goes_on(run["id"])]
        for error in await asyncio.gather(*work, return_exceptions=True):
            if error:
                log.error("a run could not be taken up", exc_info=error)

    def _goes_on(self, run: str) -> bool:
        return run not in self._in_progress and self._failed[run] < _TRIES

    async def _recover(self, run: str, digest: str) -> None:
        suspects = self._carrier.suspects
        try:
            state = await asyncio.to_thread(recorded, run)
            # noted before, since it may be what ends this process too
            standing = await asyncio.to_thread(suspects.left, run)
            began_on = state["run"]["digest"]
            segment = Stretch(run, digest, began_on, priority=priority_of(state["run"]))
            await self._in_progress.start(run, lambda _: self._taken_up(segment, standing)).ended()
        except (RunBusy, Busy):
            # somebody is at it; or this service is closing, which says nothing against the run
            await asyncio.to_thread(suspects.spared, run)
        except NotFoundError:
            # its service was killed before it was written down, and has told nobody of it
            await asyncio.to_thread(self._recovery.done, run)
        except SluicegateError as error:
            log.warning("interrupted run %s cannot be resumed: %s", run, error.code)
            self._failed[run] += 1
        else:
            self.recovered[self._carrier.versions.name] += 1
            await asyncio.to_thread(self._recovery.done, run)

    async def _taken_up(self, segment: Stretch, standing: Suspicion) -> Outcome:
        return await self._carrier.carry(segment, self._turns, Listeners(), standing)

    async def _expire(self, run: Run) -> None:
        segment = Stretch(run["id"], run["digest"])
        try:
            left = await asyncio.to_thread(self._carrier.suspects.left, run["id"])
            await self._in_progress.start(run["id"], lambda _: self._carrier.expire(segment, left)).ended()
        except Busy:
            await asyncio.to_thread(self._carrier.suspects.spared, run["id"])
        except SluicegateError as error:
            log.warning("run %s cannot be refused at its deadline: %s", run["id"], error.code)
            self._failed[run["id"]] += 1
