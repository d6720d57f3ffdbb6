"""A workflow as a service in this process: opened once, called by many at a time, closed after active runs are done.

    async with Service("configs/helpdesk/workflow.yaml") as service:
        outcome = await service.ask("Is colour printing allowed?", principal("ann", ["employee"]))

It serves the version that was promoted last and follows promotions, rollbacks and the kill switch while it runs. A
running shadow is offered each finished request, after its caller has the answer, in a process of its own. Runs that a
killed service left are resumed, and waiting runs past their deadline are refused (`execution`).

Runs use an event loop of their own (`graphs.runtime.loop_thread`), so the caller's stays free: a caller that is
cancelled or goes away cancels nothing. Several services may share a home, in one process or in many.
"""

import asyncio
import hashlib
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from sluicegate.errors import SluicegateError
from sluicegate.evals.promotion.champions import Changed
from sluicegate.evals.shadow.shadow_worker import ShadowProcess
from sluicegate.graphs.config.load import Workflow
from sluicegate.graphs.conversations.turns import ConversationRow, TurnRow
from sluicegate.graphs.runtime.factory import Opened, open_workflow
from sluicegate.graphs.runtime.loop_thread import elsewhere, wait_for
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.graphs.runtime.waiting.approvals import DecisionDetails, Waiting
from sluicegate.home import home
from sluicegate.observe.tracing.pseudonyms import Payloads
from sluicegate.observe.tracing.spans import Score, Trace
from sluicegate.observe.tracing.storing.shared import open_store
from sluicegate.plain_data import clean
from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.ledger.factory import open_ledger
from sluicegate.policies.ledger.ledger import BudgetLedger, Cap
from sluicegate.serving.acceptance import CHANNEL, Acceptance, RequestOptions
from sluicegate.serving.approvals import ApprovalPage
from sluicegate.serving.evidence import DecisionMade, Evidence
from sluicegate.serving.execution.carrier import Carrier
from sluicegate.serving.execution.factory import open_executor
from sluicegate.serving.execution.suspects import Suspects
from sluicegate.serving.in_progress import Accepted, RunsInProgress
from sluicegate.serving.limits import AdmissionController, Busy, Limits, RequestRates, ServiceAdmission
from sluicegate.serving.links.links import ApprovalLinks
from sluicegate.serving.operating import joint_drift
from sluicegate.serving.reading import RunReader, approvals
from sluicegate.serving.versions import Versions
from sluicegate.state import Principal
from sluicegate.storage.database import place
from sluicegate.storage.postgres import configured

__all__ = ["Service", "run_id"]

_REFRESH_S = 0.2
"""How often the pointer to the serving version is checked."""
_AFTER_S = 0.02
"""Delay before the shadow is offered a finished run, so that its caller has the answer first."""
_SHADOW_S = 1.0
_DRIFT_S = 30.0
_PROMPTS_S = 20.0
"""Seconds between two looks for new texts of managed prompts."""

log = logging.getLogger(__name__)


class Service:
    """A served workflow. Use as a context manager, with or without `async`."""

    def __init__(
        self,
        config: Path | str | Workflow,
        *,
        limits: Limits | None = None,
        admission: AdmissionController | None = None,
        follow: bool = True,
        work: bool = True,
        beside: Callable[[str], ShadowProcess] = ShadowProcess,
        open_version: Callable[[Path | Workflow], Opened] = open_workflow,
    ) -> None:
        """`admission` has the bounds where they are shared with others, else `limits`; `follow` False serves `config`
        regardless of promotions; `work` False leaves all runs to the other machines that share a server. Nothing is
        opened before the block is entered."""
        self._config = Path(config) if isinstance(config, str) else config
        self._follow, self._work, self._open_version = follow, work, open_version
        self.admission = admission or AdmissionController(limits or Limits())
        self._make_beside = beside
        self._background: list[asyncio.Task[None]] = []
        self._door: ServiceAdmission | None = None
        self.rates = RequestRates()
        self._withdrawn = False
        self._ledger: tuple[BudgetConfig, BudgetLedger] | None = None
        """Open for who asks for the caps, with the budget that it is of."""
        self._ledger_lock = threading.Lock()

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
        self.versions = versions = await asyncio.to_thread(
            Versions, self._config, follow=self._follow, open_version=self._open_version
        )
        self._door = ServiceAdmission(self.admission)
        self._store = store = await asyncio.to_thread(open_store)
        self._shadow = self._make_beside(self.name)
        self._in_progress = RunsInProgress()
        self._suspects = suspects = await asyncio.to_thread(Suspects, place())
        carrier = Carrier(versions, store, suspects, self.admission.solitude, self._finished)
        self.executor = executor = await asyncio.to_thread(
            open_executor, carrier, store, self._in_progress, self.admission, channel=CHANNEL, work=self._work
        )
        self.reader = RunReader(versions, store, suspects, executor)
        self._people = people = await asyncio.to_thread(Payloads, home() / "audit" / "payloads.sqlite", configured())
        self._accepting = Acceptance(
            versions, executor, carrier, self.reader, self._in_progress, self._door, self.rates, people
        )
        versions.serving.warm()
        # this service's shadow is there before its first request
        await self._shadowing()
        self._background = [
            asyncio.create_task(work)
            for work in (
                self._every(_REFRESH_S, lambda: asyncio.to_thread(versions.refresh)),
                self._every(_SHADOW_S, self._shadowing),
                self._every(_DRIFT_S, lambda: asyncio.to_thread(joint_drift.watch, versions, store), at_once=True),
                self._every(_PROMPTS_S, lambda: asyncio.to_thread(versions.refresh_prompts)),
            )
        ]
        await executor.open()

    async def _end(self) -> None:
        if self._door is None or self._door.closed:
            return
        self._door.closed = True
        for task in self._background:
            task.cancel()
        await self.executor.drain(self.limits.drain_s)
        await asyncio.gather(*self._background, return_exceptions=True)
        await asyncio.to_thread(self._shadow.close)
        await asyncio.to_thread(self.versions.close)
        await asyncio.to_thread(self._close_ledger)
        await asyncio.to_thread(self._store.close)
        self._people.close()
        self.rates.close()
        # now others take up what was not finished
        await self.executor.close()
        self._suspects.close()

    @property
    def name(self) -> str:
        """The workflow's."""
        return self.versions.name

    @property
    def limits(self) -> Limits:
        return self.admission.limits

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

    # --- requests ---

    async def ask(self, text: str | bytes, asker: Principal, **options: Unpack[RequestOptions]) -> Outcome:
        """Run one request, and wait until it is answered, refused or waits for a person.

        The same `request_id` of the same requester is the same run, however often and wherever it is sent: a retry gets
        the existing answer, or resumes after a crash. Without one, `run` may name the new run. `on_step` is called on
        another thread. The run continues when the caller is cancelled. Raises `Busy` (SG620, SG730), `RunError` SG601,
        SG602 (the request), SG611 (a node failed), SG621 (the id was used for another text), SG641 (another turn of the
        conversation is not over), SG735, SG736 (the priority), and what the nodes raise.
        """
        return await (await self.accept(text, asker, **options)).outcome()

    async def accept(self, text: str | bytes, asker: Principal, **options: Unpack[RequestOptions]) -> Accepted:
        """As `ask`, but wait only until the request is written down: from then on the run is found by its id, here and
        by every other service of the home or server, and whoever lives ends it."""
        return await asyncio.shield(asyncio.ensure_future(elsewhere(self._accept(text, asker, options))))

    async def stream(
        self, text: str | bytes, asker: Principal, **options: Unpack[RequestOptions]
    ) -> AsyncGenerator[str | Outcome]:
        """As `ask`: the pieces of the answer as each has passed its checks, then the outcome.

        Where nothing may be sent before the whole is checked (`sluicegate check --streaming` says why), there is only
        the outcome. Its text is the answer: as a rule the pieces are its beginning, but not where the draft failed
        after them, or a model broke off and another one answered. Raises as `ask` does.
        """
        pieces, loop = asyncio.Queue[str](), asyncio.get_running_loop()

        def on_text(piece: str) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        accepted = await self.accept(text, asker, **{**options, "on_text": on_text})
        outcome = asyncio.ensure_future(accepted.outcome())
        # it comes after all pieces, by the same way
        outcome.add_done_callback(lambda _: pieces.put_nowait(""))
        try:
            while piece := await pieces.get():
                yield piece
            yield await outcome
        finally:
            outcome.cancel()

    def ask_now(self, text: str | bytes, asker: Principal, **options: Unpack[RequestOptions]) -> Outcome:
        """The same for callers without an event loop."""

        async def whole() -> Outcome:
            return await (await self._accept(text, asker, options)).ended()

        return wait_for(whole())

    async def _accept(self, text: str | bytes, asker: Principal, options: RequestOptions) -> Accepted:
        if self._door is None:
            raise Busy("the service is not open", retry_after_s=1)
        if request_id := options.get("request_id"):
            options = {**options, "run": self.run_id(asker, request_id)}
        return await self._accepting.request(text, asker, **options)

    def run_id(self, asker: Principal, request_id: str) -> str:
        """The run that a request id means."""
        return run_id(self.name, asker, request_id)

    # --- decisions ---

    async def decide(
        self,
        run: str,
        verdict: str,
        by: Principal,
        *,
        changed: Changed = "refuse",
        **details: Unpack[DecisionDetails],
    ) -> Outcome:
        """Approve, edit or reject, by the rules of `Runner.decide`, whose errors it raises.

        Which version it goes on under is decided by `champions.resumes_on`. As with `ask`, the run continues when the
        caller is cancelled.
        """
        return await (await self.accept_decision(run, verdict, by, changed=changed, **details)).outcome()

    async def accept_decision(
        self,
        run: str,
        verdict: str,
        by: Principal,
        *,
        changed: Changed = "refuse",
        **details: Unpack[DecisionDetails],
    ) -> Accepted:
        """As `decide`, but wait only until the decision is written down: whoever lives carries it out."""
        if self._door is None:
            raise Busy("the service is not open", retry_after_s=1)
        work = self._accepting.decision(run, verdict, by, changed, details)
        return await asyncio.shield(asyncio.ensure_future(elsewhere(work)))

    async def answer(self, run: str, text: str | bytes, asker: Principal) -> Outcome:
        """Answer what a run asks its requester, on the version that it began with; in a conversation, its next turn
        does the same. Raises as `decide` does, and `RunError` SG601, SG602 (the text)."""
        return await self.decide(run, "answer", asker, changed="kept", text=clean(text)[0])

    # --- reading ---

    async def find(self, run: str, asker: Principal) -> tuple[Outcome | None, dict[str, Any]]:
        """A run that `asker` may see: its current outcome, and its row of the store; no outcome before its first step.

        Where they may not read a source of the answer, the outcome says why it is `withheld`. Raises `RunError` SG603,
        also for a run that policy does not let them see, so that its existence is not revealed.
        """
        return await elsewhere(self.reader.find(run, asker))

    async def conversations(self, asker: Principal) -> list[ConversationRow]:
        """The conversations of `asker`, the last used first; none where the workflow has no `conversation`."""
        return await elsewhere(self.reader.conversations(asker))

    async def turns(self, session: str, asker: Principal) -> list[tuple[TurnRow, Outcome | None]]:
        """The turns of one of them, each with its run; None for a run that was deleted, has not begun, or whose
        version is gone. Raises `RunError` SG640 when `asker` has no such conversation, whoever else has one of this
        name."""
        return await elsewhere(self.reader.turns(session, asker))

    async def passages(self, run: str, document: str, asker: Principal) -> list[str]:
        """What a run has read of a document. Raises as `find` does, `RunError` SG610 where `asker` may not read all of
        the run's sources, and SG603 for a document that it has not read."""
        return await elsewhere(self.reader.passages(run, document, asker))

    async def trail(self, run: str, asker: Principal) -> list[dict[str, Any]]:
        """The decisions of a run, as they were recorded and masked. Raises as `find` does."""
        return await elsewhere(self.reader.trail(run, asker))

    async def feedback(self, run: str, asker: Principal, name: str, value: float | bool | str, comment: str) -> Score:
        """Score a run that `asker` may see; stored, and sent where traces go. Raises as `find` does."""
        return await elsewhere(self.reader.feedback(run, asker, name, value, comment))

    async def approvals(self, asker: Principal, *, limit: int = 50, after: str = "") -> ApprovalPage:
        """Waiting runs that `asker` is asked to decide on, longest-waiting first: so many at most, from behind `after`.

        A page may be short, or empty, although more follow: its own cursor says whether they do. Where they may not
        read a source, the draft is `withheld`, and a decision of theirs would be refused.
        """
        return await elsewhere(approvals({self.name: self.reader}, asker, limit, after))

    async def approval(self, run: str, asker: Principal) -> Waiting:
        """The evidence for one. Raises `RunError` SG603 (also for one that is not theirs to see), SG605 (not waiting),
        SG610 (their own request, or one that they may see and not decide)."""
        return await elsewhere(self.reader.approval(run, asker))

    @property
    def links(self) -> ApprovalLinks:
        """Links by which one person decides on one waiting run, once, without signing in."""
        return ApprovalLinks(self.versions, self.reader, self.accept_decision)

    async def evidence(self, run: str, asker: Principal) -> Evidence:
        """As `approval`, with the passages and what an edit takes, and what was redacted restored where policy lets
        them see it, on record; also for what was decided already. Raises as `approval` does."""
        return await elsewhere(self.reader.evidence(run, asker))

    async def standing(self, run: str, asker: Principal) -> tuple[Waiting, DecisionMade | None]:
        """What a run asks people, or asked last, without the evidence; and what was decided on it. Raises as `approval`
        does."""
        return await elsewhere(self.reader.standing(run, asker))

    # --- operating ---

    def watch(self, watcher: Callable[[Trace], None]) -> None:
        """Call it with what was recorded of a run, masked, whenever a segment of it ends; it must be quick. The service
        must be open."""
        self.versions.watch(watcher)

    def sees_all(self, asker: Principal) -> bool:
        """Whether policy lets them see every run, whoever asked for it."""
        return self.reader.sees_all(asker)

    def caps(self) -> list[Cap]:
        """The use of the workflow's caps today, without those of single persons. Reads the ledger: blocks."""
        budget = self.versions.serving.workflow.config.budget
        with self._ledger_lock:
            if self._ledger is None or self._ledger[0] != budget:
                self._close_ledger()
                self._ledger = budget, open_ledger(budget)
            return [cap for cap in self._ledger[1].caps(self.name) if not cap.name.startswith("per_principal")]

    def _close_ledger(self) -> None:
        if self._ledger:
            self._ledger[1].close()

    # --- background work ---

    def _finished(self, outcome: Outcome) -> None:
        """Offer it to the shadow once the caller has it."""
        asyncio.get_running_loop().call_later(_AFTER_S, self._shadow.offer, outcome)

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


def run_id(workflow: str, asker: Principal, request_id: str) -> str:
    """The run that a request id means: the same on every server."""
    named = "\0".join((workflow, asker["id"], request_id))
    return hashlib.sha256(named.encode()).hexdigest()[:24]
