"""What nobody works on: runs that a killed service left are resumed, waiting ones past their deadline refused.

Joint thresholds of the version that serves are tested for drift on the way.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from sluicegate.errors import NotFoundError, NotWaitingError, SluicegateError
from sluicegate.evals.joint.watching import watch_joint
from sluicegate.graphs.runtime.run import Outcome, Runner
from sluicegate.graphs.runtime.run_lock import RunBusy
from sluicegate.graphs.session.checkpoint_reader import overdue, recorded
from sluicegate.observe.incidents import Incidents
from sluicegate.observe.tracing.store import Store
from sluicegate.serving.in_progress import RunsInProgress
from sluicegate.serving.limits import Busy
from sluicegate.serving.recovery.recovery import Recovery
from sluicegate.serving.versions import Versions
from sluicegate.state import Run

__all__ = ["Sweep"]

log = logging.getLogger(__name__)


class Sweep:
    """Takes up what was left, side by side, as many runs as may run. Used from the service's loop."""

    def __init__(
        self,
        versions: Versions,
        recovery: Recovery,
        store: Store,
        in_progress: RunsInProgress,
        *,
        turns: asyncio.Semaphore,
        finished: Callable[[Outcome], object],
    ) -> None:
        """A run holds one of `turns` while it is taken up; `finished` is told the outcome of each that was resumed."""
        self._versions, self._recovery, self._store = versions, recovery, store
        self._in_progress, self._turns, self._finished = in_progress, turns, finished
        self._sweeping = asyncio.Lock()

    async def once(self) -> None:
        """Look once for what was left, and work on it to its end."""
        # of two sweeps at a time, each would run as many
        async with self._sweeping:
            await self._swept()

    async def _swept(self) -> None:
        await asyncio.to_thread(self._watch)

        async def in_turn(work: Coroutine[Any, Any, None]) -> None:
            async with self._turns:
                await work

        interrupted = await asyncio.to_thread(self._recovery.cut_short, self._versions.name)
        now = self._versions.serving.runner.services.now()
        late = await asyncio.to_thread(overdue, self._versions.name, now)
        work = [self._recover(run, digest) for run, digest in interrupted if run not in self._in_progress]
        work += [self._expire(run) for run in late]
        for error in await asyncio.gather(*map(in_turn, work), return_exceptions=True):
            if error:
                log.error("a run could not be taken up", exc_info=error)

    def _watch(self) -> None:
        """Test the joint scores of the version that serves for drift."""
        workflow = self._versions.serving.workflow
        if workflow.config.router.joint is None:
            return
        incidents = Incidents()
        try:
            watch_joint(workflow, self._store, incidents)
        except SluicegateError as error:
            log.warning("the joint scores of %s could not be tested: %s", workflow.name, error)
        finally:
            incidents.disconnect()

    async def _recover(self, run: str, digest: str) -> None:
        try:
            state = await asyncio.to_thread(recorded, run)
            async with self._versions.using(digest) as opened:
                await asyncio.to_thread(self._recovery.begins, run)
                # under the version that was chosen for it, which a decision may have made another than its first
                runner = opened.runner.migrating(state["run"]["digest"])
                outcome = await self._in_progress.start(run, lambda _: self._resumed(runner, run)).ended()
        except (RunBusy, Busy):
            # somebody is at it; or this service is closing, which says nothing against the run
            await asyncio.to_thread(self._recovery.ends, run)
        except NotFoundError:
            # its service was killed before it was written down, and has told nobody of it
            await asyncio.to_thread(self._recovery.done, run)
        except SluicegateError as error:
            log.warning("interrupted run %s cannot be resumed: %s", run, error.code)
        else:
            await asyncio.to_thread(self._recovery.ends, run)
            await asyncio.to_thread(self._recovery.done, run)
            self._finished(outcome)

    async def _resumed(self, runner: Runner, run: str) -> Outcome:
        try:
            record = await asyncio.to_thread(self._store.run, run)
        except NotFoundError:
            record = {"status": "running"}
        return await (runner.recover(run) if record["status"] == "running" else runner.resume(run))

    async def _expire(self, run: Run) -> None:
        try:
            async with self._versions.using(run["digest"]) as opened:
                await self._in_progress.start(run["id"], lambda _: opened.runner.expire(run["id"])).ended()
        except (NotWaitingError, RunBusy):
            return  # somebody is deciding on it
        except SluicegateError as error:
            log.warning("run %s cannot be refused at its deadline: %s", run["id"], error.code)
