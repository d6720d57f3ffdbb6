"""How a service takes on a request or a decision: let in, written down, then worked on to its end.

What was written down is found by its id, here and by every other service of the home or server, and whoever lives
carries it out.
"""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypedDict, Unpack

from sluicegate.errors import NoTurnError, RunError, SluicegateError
from sluicegate.evals.promotion import champions
from sluicegate.evals.promotion.champions import Changed
from sluicegate.graphs.runtime import intake
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.graphs.runtime.run import Runner
from sluicegate.graphs.runtime.steps.streaming import OnText
from sluicegate.graphs.runtime.waiting.approvals import DecisionDetails, Waiting
from sluicegate.graphs.session.checkpoint_reader import asks, recorded
from sluicegate.observe.tracing.pseudonyms import Payloads
from sluicegate.serving.execution.carrier import Carrier
from sluicegate.serving.execution.executor import Claim, Executor, Listeners, Stretch
from sluicegate.serving.execution.suspects import given_up
from sluicegate.serving.in_progress import Accepted, RunsInProgress
from sluicegate.serving.limits import RequestRates, ServiceAdmission
from sluicegate.serving.progress import OnStep
from sluicegate.serving.reading import RunReader, recorded_state
from sluicegate.serving.versions import Versions
from sluicegate.state import Attachment, Principal, Priority, State

__all__ = ["CHANNEL", "Acceptance", "RequestOptions"]

CHANNEL = "api"
"""The channel that policies see, unless a caller in Python sets another."""

_POLL_S = 0.1

log = logging.getLogger(__name__)


class RequestOptions(TypedDict, total=False):
    """What may be said of a request besides its text and requester."""

    run: str
    """Names the new run, where there is no `request_id`."""
    request_id: str
    """The same one of the same requester is the same run, however often and wherever it is sent."""
    priority: str
    """Before which requests it is carried where they wait: ``low``, ``normal`` or ``high``; by default the requester's
    own, which is also the highest that they may ask with."""
    channel: str
    attachments: Mapping[str, str | bytes]
    """Tables as CSV, by the names of their files."""
    session: str
    """In a workflow with conversations, the one of the requester's that this is the next turn of."""
    history: Sequence[str] | None
    """In the place of a session's name, what was asked before, where the caller sends it along each time: the turn
    follows those of the requester's that were accepted with it, or begins a conversation."""
    after: str
    """In the place of a session's name, the run of the turn before."""
    on_step: OnStep | None
    """Called after each step, on another thread."""
    on_text: OnText | None
    """Called with each piece of the answer that has passed its checks before the answer is whole, on another thread."""


@dataclass(frozen=True, slots=True)
class _Request:
    cleaned: str
    tables: Sequence[Attachment]
    """The attachments, cleaned."""
    text: str | bytes
    asker: Principal
    run: str = ""
    request_id: str = ""
    priority: str = ""
    channel: str = CHANNEL
    attachments: Mapping[str, str | bytes] = field(default_factory=dict[str, str | bytes])
    session: str = ""
    history: Sequence[str] | None = None
    after: str = ""
    on_step: OnStep | None = None
    on_text: OnText | None = None

    @property
    def listeners(self) -> Listeners:
        return Listeners(self.on_step, self.on_text)

    def check_same(self, state: State) -> None:
        """Raises `RunError` SG621 when the run of this state is another request's."""
        request, replies = state["request"], state.get("replies")
        text = replies[0]["before"] if replies else request["text"]
        if text != self.cleaned or request.get("attachments", []) != self.tables:
            raise RunError(
                "SG621",
                "this request id was used for another request",
                hint="Use a new id for each request; reuse an id only to retry the same request",
            )


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Used from the service's own loop."""

    versions: Versions
    executor: Executor
    carrier: Carrier
    reader: RunReader
    in_progress: RunsInProgress
    door: ServiceAdmission
    rates: RequestRates
    people: Payloads

    async def request(self, text: str | bytes, asker: Principal, **options: Unpack[RequestOptions]) -> Accepted:
        """As `Service.accept`; `request_id` is only looked at for whether there is one: `run` names the run."""
        cleaned, _ = intake.clean(text)
        asked = _Request(cleaned, intake.attached(options.get("attachments", {})), text, asker, **options)
        run = asked.run or intake.new_run_id()
        if accepted := await self._answer(run, asked):
            return accepted
        if accepted := self.in_progress.get(run):
            await accepted.durable()
            if known := await asyncio.to_thread(recorded_state, run):
                asked.check_same(known)
            return accepted
        accepted = self.in_progress.start(run, lambda written: self._answered(run, asked, written))
        await accepted.durable()
        return accepted

    async def _answer(self, run: str, asked: _Request) -> Accepted | None:
        """Take the next turn of a conversation whose last one asks something as the answer; None for any other."""
        serving = self.versions.serving.runner
        talks, person = serving.conversations, asked.asker["id"]
        if talks is None or await asyncio.to_thread(recorded_state, run):
            return None
        name = intake.session_name(await self._session(run, asked))
        if not name:
            return None
        if waiting := await serving.call(talks.asking, person, name, asks):
            intake.in_words(asked.tables)
            details: DecisionDetails = {"text": asked.cleaned}
            if asked.request_id:
                details["request"] = run
            accepted = await self.decision(waiting, "answer", asked.asker, "kept", details, asked)
            await self._noted(serving, waiting, asked)
            return accepted
        if not asked.request_id:
            return None
        runs = await serving.call(talks.runs, person, name)
        answered = await serving.call(serving.answered_by, run, runs)
        # the same answer once more
        return self._taken_up(answered, asked) if answered else None

    def _taken_up(self, run: str, asked: _Request) -> Accepted:
        """A run that was accepted before, to its end."""

        async def work(written: "asyncio.Future[None]") -> Outcome:
            async with self.door.admitted(asked.asker["id"]):
                state = await asyncio.to_thread(recorded, run)
                return await self.reader.timed(await self._once_more(state, asked, written))

        return self.in_progress.get(run) or self.in_progress.start(run, work)

    async def _answered(self, run: str, asked: _Request, written: "asyncio.Future[None]") -> Outcome:
        async with self.door.admitted(asked.asker["id"]):
            known = await asyncio.to_thread(recorded_state, run) if asked.request_id else None
            level: Priority = "normal"
            if known is None:
                workflow = self.versions.serving.workflow
                limits = workflow.config.limits
                level = intake.priority(limits, asked.asker, asked.priority)
                await self.rates.admit(workflow.name, limits, asked.asker)
            while known is None:
                claim = await self._written_down(run, asked, level)
                if claim:
                    written.set_result(None)
                    return await claim.outcome()
                # another service is writing it down
                await asyncio.sleep(_POLL_S)
                known = await asyncio.to_thread(recorded_state, run)
            asked.check_same(known)
            return await self.reader.timed(await self._once_more(known, asked, written))

    async def _once_more(self, known: State, asked: _Request, written: "asyncio.Future[None]") -> Outcome:
        """The outcome of a run that is written down; what was cut short, or failed, goes on."""
        run = known["run"]
        if run["status"] != "running":
            written.set_result(None)
            return await self.carrier.shown(run["id"])
        if (await asyncio.to_thread(self.carrier.suspects.of, run["id"])).given_up:
            raise given_up(run["id"])
        segment = Stretch(run["id"], run["digest"], priority=intake.priority_of(run))
        async with self.executor.claim(segment, asked.listeners) as claim:
            written.set_result(None)
        return await claim.outcome()

    async def _written_down(self, run: str, asked: _Request, level: Priority) -> Claim | None:
        """Write down a new run, claimed; None when another service does."""
        asked = replace(asked, session=await self._session(run, asked))
        digest = await self._version_for(asked)
        async with self.versions.using(digest) as opened:
            state = opened.runner.opening(
                asked.text,
                asked.asker,
                channel=asked.channel,
                run=run,
                session=asked.session,
                attachments=asked.tables,
                priority=level,
            )
            async with self.executor.claim(Stretch(run, digest, priority=level), asked.listeners) as claim:
                if not claim.mine:
                    return None
                # one that was killed may have come as far as this
                if known := await asyncio.to_thread(recorded_state, run):
                    asked.check_same(known)
                    return claim
                await opened.runner.write_down(state)
                await self._noted(opened.runner, run, asked)
            return claim

    async def _noted(self, runner: Runner, run: str, asked: _Request) -> None:
        """Keep by which history the next turn is recognised."""
        if runner.conversations and asked.history is not None:
            own = asked.text if isinstance(asked.text, str) else asked.cleaned
            await runner.call(runner.conversations.note, run, await self._hashed(asked, (*asked.history, own)))

    async def _session(self, run: str, asked: _Request) -> str:
        """The conversation that a new run is a turn of. Raises `NoTurnError` SG640."""
        serving = self.versions.serving.runner
        talks, person = serving.conversations, asked.asker["id"]
        if asked.after:
            name = await serving.call(talks.after, person, "run", asked.after) if talks else ""
            if not name:
                raise NoTurnError(f"you have no turn {asked.after!r}", hint="A conversation is its requester's alone")
            return name
        if talks is None or asked.history is None:
            return asked.session
        name = ""
        if asked.history:
            name = await serving.call(talks.after, person, "history", await self._hashed(asked, asked.history))
        return name or f"chat-{run}"

    async def _hashed(self, asked: _Request, texts: Sequence[str]) -> str:
        """Under a key of the person's own, for it outlasts what the guards take out of the texts."""
        person = await self.people.call(self.people.person, asked.asker["id"])
        return person.hmac(json.dumps(texts))

    async def _version_for(self, asked: _Request) -> str:
        """The digest that a new run begins on: the serving one, or the one that its conversation is held with."""
        serving = self.versions.serving
        talks, name = serving.runner.conversations, intake.session_name(asked.session)
        if talks is None or not name:
            return serving.workflow.digest
        digest = await serving.runner.call(talks.version, asked.asker["id"], name)
        if not digest or await asyncio.to_thread(champions.withdrawn, self.versions.name, digest):
            return serving.workflow.digest
        try:
            async with self.versions.using(digest):
                return digest
        except SluicegateError as error:
            log.warning("a conversation goes on with %s: %s", serving.workflow.version, error)
            return serving.workflow.digest

    async def decision(
        self,
        run: str,
        verdict: str,
        by: Principal,
        changed: Changed,
        details: DecisionDetails,
        asked: _Request | None = None,
    ) -> Accepted:
        """As `Service.accept_decision`; `asked` is the request that an answer came as."""
        # nothing is opened, and no place taken, for who may not decide
        question, state = await asyncio.to_thread(self.reader.question, run, by)
        level = intake.priority_of(state["run"])
        accepted = self.in_progress.start(
            run, lambda written: self._decided(question, level, verdict, by, changed, details, asked, written)
        )
        await accepted.durable()
        return accepted

    async def _decided(
        self,
        question: Waiting,
        level: Priority,
        verdict: str,
        by: Principal,
        changed: Changed,
        details: DecisionDetails,
        asked: _Request | None,
        written: "asyncio.Future[None]",
    ) -> Outcome:
        run, began_on, asked_at = question["run"], question["digest"], question["asked_at"]
        name, serving = self.versions.name, self.versions.serving.workflow.digest
        digest = began_on if champions.resumes_on(name, began_on, changed) else serving
        async with self.door.admitted(by["id"]), self.versions.using(digest) as opened:
            runner = opened.runner.migrating(began_on) if changed == "migrate" else opened.runner
            segment = Stretch(run, digest, began_on if changed == "migrate" else "", asked_at, level)
            async with self.executor.claim(segment, asked.listeners if asked else Listeners()) as claim:
                await runner.record(run, verdict, by, **details)
            written.set_result(None)
            outcome = await claim.outcome()
            return replace(outcome, withheld=await runner.call(runner.withheld, outcome.state, by))
