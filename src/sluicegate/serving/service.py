"""A workflow as a service in this process: opened once, called by many at a time, closed after active runs are done.

    async with Service("configs/helpdesk/workflow.yaml") as service:
        outcome = await service.ask("Is colour printing allowed?", principal("ann", ["employee"]))

It serves the version that was promoted last and follows promotions, rollbacks and the kill switch while it runs. A
running shadow is offered each finished request, after its caller has the answer, in a process of its own. Runs that a
killed service left are resumed, and waiting runs past their deadline are refused, every `_SWEEP_S`.

Runs use an event loop of their own (`graphs.runtime.loop_thread`), so the caller's stays free: a caller that is
cancelled or goes away cancels nothing. Several services may share a home, in one process or in many.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from sluicegate.errors import NotFoundError, NotWaitingError, RunError, SluicegateError
from sluicegate.evals.promotion import champions
from sluicegate.evals.promotion.champions import Changed
from sluicegate.evals.shadow.shadow_worker import ShadowProcess
from sluicegate.graphs.config.load import Workflow
from sluicegate.graphs.runtime import intake
from sluicegate.graphs.runtime.approvals import Waiting
from sluicegate.graphs.runtime.factory import Opened, open_workflow
from sluicegate.graphs.runtime.loop_thread import elsewhere, wait_for
from sluicegate.graphs.runtime.run import Outcome, Runner
from sluicegate.graphs.runtime.run_lock import RunBusy
from sluicegate.graphs.session.checkpoint_reader import approval_state, overdue, recorded
from sluicegate.home import home
from sluicegate.nodes.sources import sources
from sluicegate.observe.tracing.describers import without_words
from sluicegate.observe.tracing.masking import Masking
from sluicegate.observe.tracing.spans import Score
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.views.access import may_see
from sluicegate.serving.approvals import ApprovalPage, permitted, waiting_for
from sluicegate.serving.limits import AdmissionController, Busy, Limits
from sluicegate.serving.progress import OnStep, telling
from sluicegate.serving.recovery import Recovery
from sluicegate.serving.versions import Versions
from sluicegate.state import Principal, Run, State
from sluicegate.storage.database import place

__all__ = ["CHANNEL", "Service", "run_id"]

CHANNEL = "api"
"""The channel that policies see, unless a caller in Python sets another."""

_REFRESH_S = 0.2
"""How often the pointer to the serving version is checked."""
_AFTER_S = 0.02
"""Delay before the shadow is offered a finished run, so that its caller has the answer first."""
_SHADOW_S = 1.0
_SWEEP_S = 30.0
_PROMPTS_S = 20.0
"""Seconds between two looks for new texts of managed prompts."""
_POLL_S = 0.1

log = logging.getLogger(__name__)
T = TypeVar("T")


class Service:
    """A served workflow. Use as a context manager, with or without `async`."""

    def __init__(
        self,
        config: Path | str,
        *,
        limits: Limits | None = None,
        follow: bool = True,
        beside: Callable[[str], ShadowProcess] = ShadowProcess,
        open_version: Callable[[Path | Workflow], Opened] = open_workflow,
    ) -> None:
        """`follow` False serves `config` regardless of promotions. Nothing is opened before the block is entered."""
        self._config, self._follow, self._open_version = Path(config), follow, open_version
        self.limits = limits or Limits()
        self._make_beside = beside
        self._running: dict[str, asyncio.Task[Outcome]] = {}
        self._written: dict[str, asyncio.Future[None]] = {}
        """When a run that is being accepted is on disk."""
        self._behind: set[asyncio.Task[Any]] = set()
        self._door: AdmissionController | None = None
        self._sweeping = asyncio.Lock()
        self._withdrawn = False

    # --- lifecycle ---

    async def open(self) -> None:
        """Open the workflow; what entering the block does. Opening again changes nothing. Raises as `open_workflow`."""
        await elsewhere(self._begin())

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __enter__(self) -> Self:
        wait_for(self._begin())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        wait_for(self._end())

    async def close(self) -> None:
        """Accept no more requests, let active runs finish for `drain_s`, stop. Interrupted runs are resumed by the next
        service of this home. Closing again changes nothing."""
        await elsewhere(self._end())

    async def _begin(self) -> None:
        if self._door:
            return
        self.versions = await asyncio.to_thread(
            Versions, self._config, follow=self._follow, open_version=self._open_version
        )
        self._door = AdmissionController(self.limits)
        self._store = Store(home() / "store.sqlite")
        self._recovery = await asyncio.to_thread(Recovery, place(), self._store, channel=CHANNEL)
        self._shadow = self._make_beside(self.name)
        self.versions.serving.warm()
        # this service's shadow is there before its first request
        await self._shadowing()
        self._background(self._every(_REFRESH_S, lambda: asyncio.to_thread(self.versions.refresh)))
        self._background(self._every(_SHADOW_S, self._shadowing))
        self._background(self._every(_SWEEP_S, self._sweep, at_once=True))
        self._background(self._every(_PROMPTS_S, lambda: asyncio.to_thread(self.versions.refresh_prompts)))

    async def _end(self) -> None:
        if self._door is None or self._door.closed:
            return
        self._door.closed = True
        for task in self._behind:
            task.cancel()
        at_work = [*self._running.values()]
        if at_work:
            log.info("%d runs in progress; waiting up to %g s", len(at_work), self.limits.drain_s)
            _, late = await asyncio.wait(at_work, timeout=self.limits.drain_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*at_work, return_exceptions=True)
        await asyncio.gather(*self._behind, return_exceptions=True)
        await asyncio.to_thread(self._shadow.close)
        await asyncio.to_thread(self.versions.close)
        self._store.close()
        # now others take up what was not finished
        await asyncio.to_thread(self._recovery.close)

    # --- requests ---

    @property
    def name(self) -> str:
        """The workflow's."""
        return self.versions.name

    @property
    def ready(self) -> bool:
        """Whether requests should be sent here; they are still accepted where readiness is only withdrawn."""
        return self._door is not None and not self._door.closed and not self._withdrawn

    def withdraw(self) -> None:
        """Be no longer `ready`, ahead of `close`."""
        self._withdrawn = True

    @property
    def inside(self) -> int:
        """Active and queued requests."""
        return self._door.inside if self._door else 0

    @property
    def shadow(self) -> str:
        """``none``, ``running`` or ``down``."""
        return self._shadow.state

    async def ask(
        self,
        text: str | bytes,
        asker: Principal,
        *,
        run: str = "",
        request_id: str = "",
        channel: str = CHANNEL,
        session: str = "",
        on_step: OnStep | None = None,
    ) -> Outcome:
        """Run one request, and wait until it is answered, refused or waits for a person.

        The same `request_id` of the same requester is the same run, however often and wherever it is sent: a retry gets
        the existing answer, or resumes after a crash. Without one, `run` may name the new run. `on_step` is called on
        another thread. The run continues when the caller is cancelled. Raises `Busy` (SG620), `RunError` SG601, SG602
        (the request), SG611 (a node failed), SG621 (the id was used for another text), and what the nodes raise.
        """
        accepted = await self.accept(
            text, asker, run=run, request_id=request_id, channel=channel, session=session, on_step=on_step
        )
        return await accepted.outcome()

    async def accept(
        self,
        text: str | bytes,
        asker: Principal,
        *,
        run: str = "",
        request_id: str = "",
        channel: str = CHANNEL,
        session: str = "",
        on_step: OnStep | None = None,
    ) -> "Accepted":
        """As `ask`, but wait only until the request is written down: from then on the run is found by its id, here and
        by every other service of the home or server, and whoever lives ends it."""
        work = self._accept(text, asker, run, request_id, channel, session, on_step)
        return await asyncio.shield(asyncio.ensure_future(elsewhere(work)))

    def ask_now(self, text: str | bytes, asker: Principal, *, request_id: str = "", channel: str = CHANNEL) -> Outcome:
        """The same for callers without an event loop."""

        async def whole() -> Outcome:
            accepted = await self._accept(text, asker, "", request_id, channel, "", None)
            return await self._whole(accepted.task)

        return wait_for(whole())

    def run_id(self, asker: Principal, request_id: str) -> str:
        """The run that a request id means."""
        return run_id(self.name, asker, request_id)

    async def _accept(
        self,
        text: str | bytes,
        asker: Principal,
        run: str,
        request_id: str,
        channel: str,
        session: str,
        on_step: OnStep | None,
    ) -> "Accepted":
        run = self.run_id(asker, request_id) if request_id else run or intake.new_run_id()
        cleaned, _ = intake.clean(text)
        task = self._running.get(run)
        if task is None:
            written = self._written[run] = asyncio.get_running_loop().create_future()
            task = self._hold(
                run,
                asyncio.create_task(
                    self._admitted(run, text, cleaned, asker, bool(request_id), channel, session, on_step, written)
                ),
            )
        await self._durable(run, task)
        if known := await asyncio.to_thread(self._recorded, run):
            self._same(known, cleaned)
        return Accepted(run, task, self._whole)

    async def _durable(self, run: str, task: asyncio.Task[Outcome]) -> None:
        """Wait until a run is written down. Raises what has kept it from that."""
        if written := self._written.get(run):
            await asyncio.wait({task, written}, return_when=asyncio.FIRST_COMPLETED)
            if not written.done():
                await self._whole(task)

    async def _admitted(
        self,
        run: str,
        text: str | bytes,
        cleaned: str,
        asker: Principal,
        retried: bool,
        channel: str,
        session: str,
        on_step: OnStep | None,
        written: "asyncio.Future[None]",
    ) -> Outcome:
        if self._door is None:
            raise Busy("the service is not open", retry_after_s=1)
        async with self._door.admitted(asker["id"]) as turns:
            known = await asyncio.to_thread(self._recorded, run) if retried else None
            while (state := known or await self._written_down(run, text, asker, channel)) is None:
                # another service is writing it down
                await asyncio.sleep(_POLL_S)
                known = await asyncio.to_thread(self._recorded, run)
            self._same(state, cleaned)
            if known and known["run"]["status"] == "running":
                # what was cut short, or failed, or waits: here it is in good hands until it is done
                await asyncio.to_thread(self._recovery.accept, run, self.name, known["run"]["digest"])
            written.set_result(None)
            async with turns, self._using(state["run"]["digest"]) as opened:
                with telling(on_step):
                    outcome = await self._resumed(opened.runner, run, session=session)
        if known:
            outcome = self._timed(outcome)
        # a retry of a finished request is not a second request
        if known is None or known["run"]["status"] not in ("answered", "refused"):
            self._afterwards(outcome)
        return outcome

    async def _written_down(self, run: str, text: str | bytes, asker: Principal, channel: str) -> State | None:
        """The state that a new run begins with, on disk; None when another service has the run."""
        digest = self.versions.serving.workflow.digest
        async with self._using(digest) as opened:
            state = opened.runner.opening(text, asker, channel=channel, run=run)
            if not await asyncio.to_thread(self._recovery.accept, run, self.name, digest):
                return None
            # one that was killed may have come as far as this
            if known := await asyncio.to_thread(self._recorded, run):
                return known
            await opened.runner.call(opened.runner.begin, state)
            return state

    async def _resumed(self, runner: Runner, run: str, *, session: str = "") -> Outcome:
        """Work on an accepted run until it ends or waits; where it is cut short, others take it up."""
        try:
            while True:
                try:
                    outcome = await runner.resume(run, session=session)
                    break
                except RunBusy:
                    # another service of this home or server is at it
                    await asyncio.sleep(_POLL_S)
        except SluicegateError:
            # of a store that fails there is no taking out either: the run counts as interrupted
            with suppress(SluicegateError):
                await asyncio.to_thread(self._recovery.done, run)
            raise
        await asyncio.to_thread(self._recovery.done, run)
        return outcome

    def _same(self, state: State, cleaned: str) -> None:
        if state["request"]["text"] != cleaned:
            raise RunError(
                "SG621",
                "this request id was used for another request",
                hint="Use a new id for each request; reuse an id only to retry the same request",
            )

    def _timed(self, outcome: Outcome) -> Outcome:
        """A retry took no time of its own: how long the run was at work is in its record."""
        try:
            return replace(outcome, ms=self._store.run(outcome.run)["ms"])
        except RunError:
            # not written yet
            return outcome

    def _afterwards(self, outcome: Outcome) -> None:
        """Offer it to the shadow once the caller has it."""
        asyncio.get_running_loop().call_later(_AFTER_S, self._shadow.offer, outcome)

    # --- runs ---

    async def find(self, run: str, asker: Principal) -> tuple[Outcome | None, dict[str, Any]]:
        """A run that `asker` may see: its current outcome, and its row of the store; no outcome before its first step.

        Raises `RunError` SG603, also for one that policy does not let them see, so that its existence is not revealed.
        """
        return await elsewhere(self._find(run, asker))

    async def _find(self, run: str, asker: Principal) -> tuple[Outcome | None, dict[str, Any]]:
        row = await asyncio.to_thread(self._row, run)
        opened = self.versions.serving
        masking = Masking(opened.workflow.config.tracing)
        if not may_see(row, asker, opened.runner.services.policy, masking):
            raise _unknown(run)
        outcome = await self._standing(run, row)
        if outcome and outcome.status != "running":
            # another machine may have continued it since this one wrote its row
            row = {**row, "status": outcome.status}
        return await self._readable(outcome, row, asker), row

    async def _readable(self, outcome: Outcome | None, row: dict[str, Any], asker: Principal) -> Outcome | None:
        """An outcome as `asker` may know of it: without the answer where they may not read one of its sources."""
        if outcome is None or not sources(outcome.state):
            return outcome
        async with self._using(row["digest"]) as opened:
            withheld = await opened.runner.call(opened.runner.withheld, outcome.state, asker)
        return replace(outcome, withheld=withheld)

    async def _standing(self, run: str, row: dict[str, Any]) -> Outcome | None:
        try:
            asked = await asyncio.to_thread(approval_state, run)
        except NotFoundError:
            return None
        return Outcome(run, asked.state, row["ms"], asked.question if asked.open else None)

    async def trail(self, run: str, asker: Principal) -> list[dict[str, Any]]:
        """The decisions of a run, as they were recorded and masked. Raises as `find` does."""
        outcome, _ = await self.find(run, asker)
        decisions = await elsewhere(self._on_store(self._store.decisions, run))
        if outcome is None or not outcome.withheld:
            return decisions
        return [{**each, "values": without_words(each["values"])} for each in decisions]

    async def feedback(self, run: str, asker: Principal, name: str, value: float | bool | str, comment: str) -> Score:
        """Score a run that `asker` may see; stored, and sent where traces go. Raises as `find` does."""

        async def give() -> Score:
            _, row = await self._find(run, asker)
            async with self._using(row["digest"]) as opened:
                return await asyncio.to_thread(
                    opened.tracer.feedback, run, name, value, comment=comment, by=asker["id"]
                )

        return await elsewhere(give())

    # --- approvals ---

    async def approvals(self, asker: Principal, *, limit: int = 50, after: str = "") -> ApprovalPage:
        """Waiting runs that `asker` is asked to decide on, longest-waiting first: so many at most, from behind `after`.

        A page may be short, or empty, although more follow: its own cursor says whether they do. Where they may not
        read a source, the draft is `withheld`, and a decision of theirs would be refused.
        """
        return await elsewhere(self._approvals(asker, limit, after))

    async def _approvals(self, asker: Principal, limit: int, after: str) -> ApprovalPage:
        services = self.versions.serving.runner.services
        found, following = await asyncio.to_thread(waiting_for, self.name, asker, services, limit, after)
        page = ApprovalPage(next=following)
        for asked in found:
            try:
                page.append(await self._shown(*asked, asker))
            except SluicegateError as error:
                log.warning("waiting run %s cannot be shown: %s", asked[0]["run"], error.code)
        return page

    async def _shown(self, question: Waiting, state: State, asker: Principal) -> Waiting:
        """What waits, as `asker` may know of it: without what rests on documents that they may not read."""
        if not sources(state):
            return question
        async with self._using(question["digest"]) as opened:
            return await opened.runner.call(opened.runner.readable, question, state, asker)

    async def approval(self, run: str, asker: Principal) -> Waiting:
        """The evidence for one. Raises `RunError` SG603 (also for one that is not theirs to see), SG605 (not waiting),
        SG610 (their own request, or one that they may see and not decide)."""

        async def show() -> Waiting:
            return await self._shown(*await asyncio.to_thread(self._question, run, asker), asker)

        return await elsewhere(show())

    def _question(self, run: str, asker: Principal) -> tuple[Waiting, State]:
        row, opened = self._row(run), self.versions.serving
        sees = may_see(row, asker, opened.runner.services.policy, Masking(opened.workflow.config.tracing))
        try:
            return permitted(approval_state(run), asker, opened.runner.services, sees=sees)
        except NotFoundError:
            raise _unknown(run) from None

    async def decide(
        self,
        run: str,
        verdict: str,
        by: Principal,
        *,
        reason: str = "",
        text: str = "",
        arguments: Mapping[str, Any] | None = None,
        changed: Changed = "refuse",
    ) -> Outcome:
        """Approve, edit or reject, by the rules of `Runner.decide`, whose errors it raises.

        Which version it goes on under is decided by `champions.resumes_on`. As with `ask`, the run continues when the
        caller is cancelled.
        """
        accepted = await self.accept_decision(
            run, verdict, by, reason=reason, text=text, arguments=arguments, changed=changed
        )
        return await accepted.outcome()

    async def accept_decision(
        self,
        run: str,
        verdict: str,
        by: Principal,
        *,
        reason: str = "",
        text: str = "",
        arguments: Mapping[str, Any] | None = None,
        changed: Changed = "refuse",
    ) -> "Accepted":
        """As `decide`, but wait only until the decision is written down: whoever lives carries it out."""

        async def accepted() -> Accepted:
            # nothing is opened, and no place taken, for who may not decide
            question, _ = await asyncio.to_thread(self._question, run, by)
            said: dict[str, Any] = {"reason": reason, "text": text, "arguments": arguments}
            written = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(self._decided(run, question["digest"], verdict, by, said, changed, written))
            # of two who decide at a time the second is told so, under a name of its own
            self._hold(f"{run} {id(task)}" if run in self._running else run, task)
            await asyncio.wait({task, written}, return_when=asyncio.FIRST_COMPLETED)
            if not written.done():
                await self._whole(task)
            return Accepted(run, task, self._whole)

        return await asyncio.shield(asyncio.ensure_future(elsewhere(accepted())))

    async def _decided(
        self,
        run: str,
        began_on: str,
        verdict: str,
        by: Principal,
        said: dict[str, Any],
        changed: Changed,
        written: "asyncio.Future[None]",
    ) -> Outcome:
        if self._door is None:
            raise Busy("the service is not open", retry_after_s=1)
        serving = self.versions.serving.workflow.digest
        digest = began_on if champions.resumes_on(self.name, began_on, changed) else serving
        async with self._door.admitted(by["id"]) as turns, self._using(digest) as opened:
            runner = opened.runner.migrating(began_on) if changed == "migrate" else opened.runner
            mine = await asyncio.to_thread(self._recovery.accept, run, self.name, digest)
            try:
                await runner.record(run, verdict, by, **said)
            except SluicegateError:
                if mine:
                    await asyncio.to_thread(self._recovery.done, run)
                raise
            written.set_result(None)
            async with turns:
                outcome = await self._resumed(runner, run)
            self._afterwards(outcome)
            return replace(outcome, withheld=await runner.call(runner.withheld, outcome.state, by))

    # --- background work ---

    def _hold(self, run: str, task: asyncio.Task[Outcome]) -> asyncio.Task[Outcome]:
        """Work on a run that a closing service waits for, and that continues without its caller."""

        def done(task: asyncio.Task[Outcome]) -> None:
            self._running.pop(run, None)
            self._written.pop(run, None)
            # the caller may be gone, and asyncio complains of unretrieved errors; the run's record has it
            if not task.cancelled():
                task.exception()

        self._running[run] = task
        task.add_done_callback(done)
        return task

    async def _held(self, run: str, task: asyncio.Task[Outcome]) -> Outcome:
        return await self._whole(self._hold(run, task))

    async def _whole(self, task: asyncio.Task[Outcome]) -> Outcome:
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            raise Busy("the service is closing; the run continues after the restart", retry_after_s=5) from None

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)

    async def _every(
        self, seconds: float, work: Callable[[], Coroutine[Any, Any, Any]], *, at_once: bool = False
    ) -> None:
        while True:
            if not at_once:
                await asyncio.sleep(seconds)
            at_once = False
            try:
                await work()
            except Exception:
                # whatever it was, requests must still be answered
                log.exception("background work of %s failed", self.name)
                await asyncio.sleep(seconds)

    async def _shadowing(self) -> None:
        try:
            await asyncio.to_thread(self._shadow.refresh)
        except (SluicegateError, OSError) as error:
            log.warning("the shadow of %s: %s", self.name, error)

    async def _sweep(self) -> None:
        """Resume what a killed service left, refuse what is past its deadline: side by side, as many as may run."""
        # of two sweeps at a time, each would run as many
        async with self._sweeping:
            await self._swept()

    async def _swept(self) -> None:
        turns = asyncio.Semaphore(self.limits.running)

        async def in_turn(work: Coroutine[Any, Any, None]) -> None:
            async with turns:
                await work

        interrupted = await asyncio.to_thread(self._recovery.cut_short, self.name)
        late = await asyncio.to_thread(overdue, self.name, self.versions.serving.runner.services.now())
        work = [self._recover(run, digest) for run, digest in interrupted if run not in self._running]
        work += [self._expire(run) for run in late]
        for error in await asyncio.gather(*map(in_turn, work), return_exceptions=True):
            if error:
                log.error("a run could not be taken up", exc_info=error)

    async def _recover(self, run: str, digest: str) -> None:
        try:
            state = await asyncio.to_thread(recorded, run)
            async with self._using(digest) as opened:
                await asyncio.to_thread(self._recovery.begins, run)
                # under the version that was chosen for it, which a decision may have made another than its first
                work = self._taken_up(opened.runner.migrating(state["run"]["digest"]), run)
                outcome = await self._held(run, asyncio.create_task(work))
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
            self._afterwards(outcome)

    async def _taken_up(self, runner: Runner, run: str) -> Outcome:
        try:
            record = await asyncio.to_thread(self._store.run, run)
        except NotFoundError:
            record = {"status": "running"}
        return await (runner.recover(run) if record["status"] == "running" else runner.resume(run))

    async def _expire(self, run: Run) -> None:
        try:
            async with self._using(run["digest"]) as opened:
                await self._held(run["id"], asyncio.create_task(opened.runner.expire(run["id"])))
        except (NotWaitingError, RunBusy):
            return  # somebody is deciding on it
        except SluicegateError as error:
            log.warning("run %s cannot be refused at its deadline: %s", run["id"], error.code)

    # --- reading ---

    def _row(self, run: str) -> dict[str, Any]:
        try:
            row = self._store.run(run)
        except NotFoundError:
            row = None
        # the store takes the start of an id too; here an id is a whole one
        if row is None or row["run_id"] != run:
            row = self._row_of_another_machine(run)
        if row["workflow"] != self.name or row["shadow"]:
            raise _unknown(run)
        return row

    def _row_of_another_machine(self, run: str) -> dict[str, Any]:
        state = self._recorded(run)
        if state is None:
            # with the same message as for a run that may not be seen
            raise _unknown(run)
        facts = {key: state["run"][key] for key in ("workflow", "version", "digest", "shadow", "status")}
        return {**facts, "run_id": run, "user": state["principal"]["id"], "ms": 0.0}

    def _recorded(self, run: str) -> State | None:
        try:
            return recorded(run)
        except NotFoundError:
            return None

    @asynccontextmanager
    async def _using(self, digest: str) -> AsyncGenerator[Opened]:
        used = ExitStack()
        opened = await asyncio.to_thread(used.enter_context, self.versions.using(digest))
        try:
            yield opened
        finally:
            await asyncio.to_thread(used.close)

    async def _on_store(self, read: Callable[..., T], *given: Any) -> T:
        return read(*given)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request or a decision that is written down."""

    run: str
    task: asyncio.Task[Outcome]
    whole: Callable[[asyncio.Task[Outcome]], Coroutine[Any, Any, Outcome]]

    async def outcome(self) -> Outcome:
        """What becomes of it; who stops waiting cancels nothing. Raises what `Service.ask` raises."""
        return await asyncio.shield(asyncio.ensure_future(elsewhere(self.whole(self.task))))


def run_id(workflow: str, asker: Principal, request_id: str) -> str:
    """The run that a request id means: the same on every server."""
    named = "\0".join((workflow, asker["id"], request_id))
    return hashlib.sha256(named.encode()).hexdigest()[:24]


def _unknown(run: str) -> RunError:
    return NotFoundError(f"no run {run!r} that you may see", hint="Only the requester may see it")
