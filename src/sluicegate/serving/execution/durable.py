"""The executor of machines that share a server: whoever has room carries a run, whoever lives ends it.

A service starts what it accepts itself where it has room, without a queue in between, and else leaves it to the queue
of its workflow, in which runs are ordered by priority (`turns`). The queue is named for the workflow, and for the
packages that it uses beside ours: a process with others could not open its versions, and does not take from it. Any
version that was kept can be opened, since kept versions are on the server too.

Every interrupt gets a timer, also of runs that no service has begun.
"""

import asyncio
import hashlib
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from sluicegate.errors import GivenUpError, RunError, ServerError, SluicegateError, UnwritableError
from sluicegate.graphs.config.load import Workflow
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.graphs.runtime.waiting.approvals import Waiting
from sluicegate.graphs.session.checkpoint_reader import approval_state, schedule_waiting
from sluicegate.serving.execution.carrier import Carrier
from sluicegate.serving.execution.disk import Disk
from sluicegate.serving.execution.engine import join
from sluicegate.serving.execution.executor import Listeners, Queued, Stretch, Tally
from sluicegate.serving.execution.suspects import Suspicion
from sluicegate.serving.execution.takeover import take_over
from sluicegate.serving.in_progress import RunsInProgress
from sluicegate.serving.limits import AdmissionController
from sluicegate.serving.progress import OnStep
from sluicegate.serving.reading import recorded_state
from sluicegate.storage.postgres import Server

__all__ = ["DurableExecutor", "queue_of"]

_GRACE_S = 10.0
"""So long a segment may be promised before it is written down, where another process does both."""
_TIMERS_S = 5.0
"""Seconds between two looks for interrupts without a timer."""
_TRIES = 3
"""How often a segment is begun here whose server was away meanwhile, or for which this machine had no room."""
_QUICK_S, _SLOW_S = 0.05, 0.5
"""Between two looks at what another process carries; they become longer."""

log = logging.getLogger(__name__)


def queue_of(workflow: Workflow) -> str:
    """The queue that the runs of a workflow wait in."""
    used = sorted(set(workflow.resolved.packages.values()))
    packages = hashlib.sha256("\n".join(used).encode()).hexdigest()[:8] if used else ""
    return f"{workflow.name}+{packages}" if packages else workflow.name


class _Here:
    """A segment that was started in this process, by the claim on it."""

    def __init__(self, listeners: Listeners) -> None:
        loop = asyncio.get_running_loop()
        self.listeners = listeners
        self.written: asyncio.Future[bool] = loop.create_future()
        self.outcome: asyncio.Future[Outcome] = loop.create_future()
        # nobody may wait for it
        self.outcome.add_done_callback(lambda done: done.cancelled() or done.exception())

    def failed(self, error: Exception) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(error)


class DurableExecutor:
    """Implements `Executor` over DBOS."""

    def __init__(
        self,
        server: Server,
        carrier: Carrier,
        in_progress: RunsInProgress,
        admission: AdmissionController,
        *,
        channel: str,
        work: bool,
    ) -> None:
        """Blocks, and raises as `engine.join`. Without `work`, what is accepted waits for another process."""
        self.queue = queue_of(carrier.versions.given)
        self.tally = Tally()
        self._carrier, self._in_progress, self._channel, self._work = carrier, in_progress, channel, work
        self._turns, self._running = admission.turns, admission.limits.running
        self._solitude = admission.solitude
        self.engine = join(server, self)
        self._here: dict[str, _Here] = {}
        self._carries: set[asyncio.Task[object]] = set()
        self._timers: asyncio.Task[None] | None = None
        self._disk = Disk(self._take)
        self._unwritten = Counter[str]()
        self._awaited: dict[str, asyncio.Future[dict[str, str]]] = {}
        self._asking: asyncio.Task[None] | None = None
        self._pause = _QUICK_S

    @property
    def leaving(self) -> bool:
        return self.tally.draining

    @property
    def recovered(self) -> Mapping[str, int]:
        return self.engine.recovered

    def queued(self) -> Sequence[Queued]:
        return self.engine.queued(self.queue)

    async def failure(self, run: str, after: str) -> RunError | None:
        rows = {self.id_of(Stretch(run, "")), self.id_of(Stretch(run, "", after=after))}
        over = await asyncio.to_thread(self.engine.results, [*rows])
        codes = [result["code"] for result in over.values() if "code" in result]
        return _failed_elsewhere(run, codes[0]) if codes and over.keys() == rows else None

    # --- the service's side ---

    def claim(self, segment: Stretch, listeners: Listeners) -> "_Claim":
        return _Claim(self, segment, listeners)

    async def open(self) -> None:
        await asyncio.to_thread(self._take_over)
        self._take()
        self._timers = asyncio.create_task(self._time_again_and_again())

    def _take_over(self) -> None:
        """Promise what a server of before has left."""
        workflow = self._carrier.versions.name
        promised = take_over(
            self.engine.server,
            workflow,
            self._channel,
            lambda segment: self.engine.adopt(self.id_of(segment), self.queue, segment),
        )
        if promised:
            self.engine.recovered[workflow] += promised
            log.warning("%d runs of %s were left by a server of an earlier version and go on", promised, workflow)

    def _take(self) -> None:
        """From the queue only what has room beside what was started here."""
        if self._work:
            room = 0 if self.leaving or self._disk.failing else max(0, self._running - len(self._here))
            self.engine.take_from(self.queue, room)

    async def drain(self, seconds: float) -> None:
        self.tally.draining = True
        self._take()
        await self._disk.close()
        if self._timers:
            self._timers.cancel()
            with suppress(asyncio.CancelledError):
                await self._timers
        await asyncio.to_thread(self.engine.stop_taking, seconds)
        if self._carries:
            log.info("%d runs in progress; waiting up to %g s", len(self._carries), seconds)
            _, late = await asyncio.wait(self._carries, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        # who waits for other processes is told that they go on
        await self._in_progress.drain(0 if self._carries else min(seconds, _SLOW_S))
        if self._asking:
            self._asking.cancel()
            with suppress(asyncio.CancelledError):
                await self._asking

    async def close(self) -> None:
        await asyncio.to_thread(self.engine.leave, self)

    async def promise(self, segment: Stretch, listeners: Listeners) -> tuple[bool, "_Here | None"]:
        """Whether it was not promised before, and the segment where it is carried here."""
        row = self.id_of(segment)
        if here := self._here.get(row):
            return False, here
        if (
            not self._work
            or self._disk.failing
            or self._turns.locked()
            or self._solitude.wanted
            or await asyncio.to_thread(self.engine.is_behind, self.queue, segment.priority)
        ):
            return await asyncio.to_thread(self.engine.enqueue, row, self.queue, segment), None
        if here := self._here.get(row):
            # meanwhile
            return False, here
        here = self._here[row] = _Here(listeners)
        self._take()
        try:
            if await asyncio.to_thread(self.engine.start, row, self.queue, segment):
                return True, here
        except BaseException:
            del self._here[row]
            raise
        del self._here[row]
        return False, None

    async def followed(self, segment: Stretch, listeners: Listeners) -> Outcome:
        """The outcome of what another process carries."""
        over = self._watched(self.id_of(segment))
        if listeners.on_step:
            await self._tell_steps(segment.run, listeners.on_step, over)
        result = await asyncio.shield(over)
        if code := result.get("code"):
            raise _failed_elsewhere(segment.run, code)
        return await self._carrier.shown(segment.run)

    async def _tell_steps(self, run: str, on_step: OnStep, over: "asyncio.Future[dict[str, str]]") -> None:
        told, pause = 0, _QUICK_S
        while not over.done():
            if state := await asyncio.to_thread(recorded_state, run):
                trail = state.get("trail", [])
                for entry in trail[told:]:
                    on_step({"node": entry["node"], "to": entry["branch"]["to"], "reason": entry["branch"]["reason"]})
                told = len(trail)
            await asyncio.wait((over,), timeout=pause)
            pause = min(pause * 1.5, _SLOW_S)

    def _watched(self, row: str) -> "asyncio.Future[dict[str, str]]":
        """Its result, when it is over. All that is waited for here is asked for at once."""
        if row not in self._awaited:
            self._awaited[row] = asyncio.get_running_loop().create_future()
            self._pause = _QUICK_S
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(self._ask())
        return self._awaited[row]

    async def _ask(self) -> None:
        while self._awaited:
            try:
                over = await asyncio.to_thread(self.engine.results, [*self._awaited])
            except Exception as error:
                # as while the server is away
                log.warning("what other processes carry of %s cannot be seen: %s", self.queue, error)
            else:
                for row, result in over.items():
                    self._awaited.pop(row).set_result(result)
            await asyncio.sleep(self._pause)
            self._pause = min(self._pause * 1.5, _SLOW_S)

    def id_of(self, segment: Stretch) -> str:
        return f"{self.queue}:{segment.run}" + (f"@{segment.after}" if segment.after else "")

    # --- the engine's side ---

    async def carry(self, row: str, segment: Stretch) -> dict[str, str]:
        here = self._here.get(row)
        if self.leaving and here is None:
            raise asyncio.CancelledError
        task = asyncio.current_task()
        assert task
        self._carries.add(task)
        self.tally.carrying += 1
        try:
            result = await self._carried(segment, here)
        except asyncio.CancelledError:
            self.tally.left += 1
            if here:
                here.outcome.cancel()
            raise
        except Exception as error:
            self.tally.failed += 1
            if here:
                here.failed(error)
            if isinstance(error, GivenUpError):
                raise
            if not isinstance(error, SluicegateError):
                log.exception("run %s failed", segment.run)
            return {"code": getattr(error, "code", "") or "SG611"}
        else:
            self.tally.ended += 1
            return result
        finally:
            self.tally.carrying -= 1
            self._carries.discard(task)
            if here:
                del self._here[row]
                self._take()

    async def _carried(self, segment: Stretch, here: _Here | None) -> dict[str, str]:
        if here:
            if not await here.written:
                return {}
        elif not await self._appears(segment):
            # whoever promised it was killed before it was written down, and has told nobody of it
            return {}
        listeners, tries = here.listeners if here else Listeners(), 1
        left: Suspicion | None = None
        if here is None:
            # it has waited for its turn in the queue
            segment = replace(segment, priority="high")
            # and may have been begun before, by a process that ended
            left = await asyncio.to_thread(self._carrier.suspects.of, segment.run)
        while True:
            try:
                outcome = await self._carrier.carry(segment, self._turns, listeners, left)
                break
            except ServerError as error:
                if tries == _TRIES:
                    raise
                # the server was away: the caller is told, and the run goes on when it is back
                if here:
                    here.failed(error)
                await self._server()
                left, tries = await asyncio.to_thread(self._carrier.suspects.of, segment.run), tries + 1
            except UnwritableError as error:
                self._disk.failed()
                self._unwritten[segment.run] += 1
                if self._unwritten[segment.run] == _TRIES:
                    del self._unwritten[segment.run]
                    raise
                # the caller is told, and another machine goes on with it, or this one later
                log.warning("run %s is left to others: %s", segment.run, error)
                if here:
                    here.failed(error)
                raise asyncio.CancelledError from error
        self._unwritten.pop(segment.run, None)
        if here and not here.outcome.done():
            here.outcome.set_result(outcome)
        if outcome.waiting:
            await self._time()
        return {}

    async def _appears(self, segment: Stretch) -> bool:
        """Whether a segment is written down by the process that promised it, soon."""
        until = time.monotonic() + _GRACE_S
        while not await asyncio.to_thread(self._is_there, segment):
            if time.monotonic() > until:
                return False
            await asyncio.sleep(_QUICK_S)
        return True

    def _is_there(self, segment: Stretch) -> bool:
        if not segment.after:
            return recorded_state(segment.run) is not None
        standing = approval_state(segment.run)
        asked = standing.question
        if not (standing.open and asked and asked["asked_at"] == segment.after):
            return True
        approvals = self._carrier.versions.serving.runner.unapplied(asked)
        return approvals is not None

    async def _server(self) -> None:
        """Wait until the server answers."""
        while True:
            try:
                await asyncio.to_thread(self.engine.server.version)
            except RunError:
                await asyncio.sleep(_SLOW_S)
            else:
                return

    # --- deadlines ---

    async def expire(self, segment: Stretch) -> dict[str, str]:
        task = asyncio.current_task()
        assert task
        self._carries.add(task)
        try:
            runner = self._carrier.versions.serving.runner
            standing = await asyncio.to_thread(approval_state, segment.run)
            while standing.open and standing.question and standing.question["asked_at"] == segment.after:
                left = datetime.fromisoformat(standing.question["deadline"]) - runner.services.now()
                if left.total_seconds() < 0:
                    left = await asyncio.to_thread(self._carrier.suspects.of, segment.run)
                    outcome = await self._carrier.expire(segment, left)
                    if outcome.waiting and outcome.waiting["asked_at"] != segment.after:
                        await self._time()
                    return {}
                # the clock of whoever set the timer is ahead of ours
                await asyncio.sleep(min(left.total_seconds() + 0.01, 30.0))
                standing = await asyncio.to_thread(approval_state, segment.run)
        except (ServerError, UnwritableError) as error:
            # nobody else would think of it again
            log.warning("run %s is refused at its deadline later: %s", segment.run, error.code)
            if isinstance(error, UnwritableError):
                self._disk.failed()
            else:
                await self._server()
            raise asyncio.CancelledError from error
        except GivenUpError:
            raise
        except SluicegateError as error:
            log.warning("run %s cannot be refused at its deadline: %s", segment.run, error.code)
            return {"code": error.code}
        finally:
            self._carries.discard(task)
        return {}

    async def _time_again_and_again(self) -> None:
        while True:
            try:
                await self._time()
            except Exception:
                # whatever it was, requests must still be answered
                log.exception("deadlines of %s could not be looked for", self.queue)
            await asyncio.sleep(_TIMERS_S)

    async def _time(self) -> None:
        """Give a timer to each interrupt that has none."""
        await asyncio.to_thread(schedule_waiting, self._carrier.versions.name, self._timed)

    def _timed(self, waiting: Waiting) -> None:
        left = (datetime.fromisoformat(waiting["deadline"]) - datetime.now(UTC)).total_seconds()
        segment = Stretch(waiting["run"], waiting["digest"], "", waiting["asked_at"])
        self.engine.later(f"{self.id_of(segment)}/deadline", self.queue, segment, max(left, 0.0))


def _failed_elsewhere(run: str, code: str) -> RunError:
    return RunError(
        code,
        f"run {run} did not come to its end on another machine ({code})",
        hint=f"See that machine's log, or go on with it: sluicegate run CONFIG --run {run}",
    )


class _Claim:
    def __init__(self, executor: DurableExecutor, segment: Stretch, listeners: Listeners) -> None:
        self._executor, self._segment, self._listeners = executor, segment, listeners
        self.mine = False
        self._here: _Here | None = None
        self._began = 0.0

    async def __aenter__(self) -> Self:
        self._began = time.monotonic()
        self.mine, self._here = await self._executor.promise(self._segment, self._listeners)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        engine = self._executor.engine
        if not self.mine:
            return
        if self._here:
            if not self._here.written.done():
                self._here.written.set_result(error is None)
        elif error:
            await asyncio.to_thread(engine.withdraw, self._executor.id_of(self._segment))
        elif time.monotonic() - self._began > _GRACE_S / 2:
            # whoever took it may have waited in vain
            await self._executor.promise(self._segment, self._listeners)

    async def outcome(self) -> Outcome:
        if self._here:
            return await asyncio.shield(self._here.outcome)
        return await self._executor.followed(self._segment, self._listeners)
