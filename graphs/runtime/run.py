"""Running a compiled workflow: start, wait for a person, continue in another process, resume after a crash.

A `Runner` is one workflow with its services. All that must last is in the checkpoint, the store and the decisions; a
`Runner` can be thrown away between any two calls.
"""

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Unpack, cast

from sluicegate.errors import ModelError, NotFoundError, NotWaitingError, RunError
from sluicegate.graphs.conversations.turns import Conversations
from sluicegate.graphs.runtime import intake
from sluicegate.graphs.runtime.budgets.fan_out import release_reserved
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.graphs.runtime.redaction_access import concealing, revealed
from sluicegate.graphs.runtime.run_lock import hold, present
from sluicegate.graphs.runtime.waiting.approvals import Approvals, DecisionDetails, Waiting, put_to_people
from sluicegate.graphs.runtime.waiting.verdicts import Party, check_rights, is_due, late, not_before, verdict_on
from sluicegate.nodes.kinds.human_interrupt import HumanVerdict, Interrupt
from sluicegate.nodes.sources import sources, unreadable, why_withheld
from sluicegate.policies.guards.vault import MemoryVault
from sluicegate.retrieval.lance import one_version
from sluicegate.services import Services, Vault
from sluicegate.state import Attachment, Conversation, Principal, Priority, State, question
from sluicegate.storage.run_ids import MARK, root_run

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from langchain_core.runnables import RunnableConfig
    from langgraph.graph.state import CompiledStateGraph

    from sluicegate.graphs.runtime.steps.nested_tracer import NestedTracer
    from sluicegate.observe.tracing.tracer import RecordingTracer

__all__ = ["Pause", "Runner"]


@dataclass(frozen=True, slots=True)
class Pause:
    """Where a run segment pauses although it could continue: after or before these nodes, ``*`` for every one."""

    after: Literal["*"] | list[str] | None = None
    before: Literal["*"] | list[str] | None = None


class Runner:
    """One workflow, ready to run. `graphs.runtime.factory.open_workflow` makes one from a config."""

    def __init__(
        self,
        graph: "CompiledStateGraph[State, Services, State, State]",
        services: Services,
        *,
        tracer: "RecordingTracer | NestedTracer",
        approvals: Approvals,
        shadow: bool = False,
        migrates: str = "",
        vault: Vault | None = None,
        conversations: Conversations | None = None,
    ) -> None:
        """`migrates` is the digest of another version whose runs may continue on this one: an operator's choice.

        `vault` holds the values of redacted texts' placeholders; it is the guards' own. `conversations` are those of a
        workflow that has them.
        """
        self.graph = graph
        self.services = services
        self.tracer = tracer
        self._approvals = approvals
        self.shadow = shadow
        self._migrates = migrates
        self.call = approvals.call
        """For what this object does at once: off the event loop, where a server is asked."""
        self.vault: Vault = vault or MemoryVault()
        self.conversations = conversations

    async def run(
        self,
        raw: str | bytes,
        asker: Principal,
        *,
        channel: str = "cli",
        run: str = "",
        session: str = "",
        turn: Conversation | None = None,
        inputs: Mapping[str, Any] | None = None,
        attachments: Sequence[Attachment] = (),
        priority: Priority = "normal",
    ) -> Outcome:
        """Run one request. A `run` id that has started before is resumed where it stopped.

        In a workflow with conversations a `session` names the requester's; where its last turn asks them something,
        this is the answer, and the run goes on. `turn` and `inputs` are given where the request was a turn, or had
        inputs, before, as in a replay. Raises `RunError` SG601, SG602 (the request), SG611 (a node failed), SG641
        (another turn is not over), what `decide` raises for an answer, and what the nodes raise.
        """
        if run and await self.call(self.last_state, run) is not None:
            return await self.resume(run)
        if asking := await self.question_in(session, asker):
            intake.in_words(attachments)
            return await self.decide(asking, "answer", asker, text=intake.clean(raw)[0])
        state = self.opening(
            raw,
            asker,
            channel=channel,
            run=run,
            session=session,
            inputs=inputs,
            attachments=attachments,
            priority=priority,
        )
        if turn:
            state = cast("State", {**state, "conversation": turn})
        if self.conversations and session:
            await self.write_down(state)
            return await self.resume(state["run"]["id"])
        return await self.run_segment(state["run"]["id"], state, state)

    def opening(
        self,
        raw: str | bytes,
        asker: Principal,
        *,
        channel: str = "cli",
        run: str = "",
        session: str = "",
        parent: str = "",
        inputs: Mapping[str, Any] | None = None,
        attachments: Sequence[Attachment] = (),
        priority: Priority = "normal",
    ) -> State:
        """The state that a new run begins with, if need be within a `parent` and with its `inputs`.

        Raises `RunError` SG601, SG602, and SG603 for an id that would make it a part of another run.
        """
        run = run or intake.new_run_id()
        if MARK in run and not parent:
            raise NotFoundError(f"no run {run} in this home", hint=f"Name a new run without a {MARK!r}")
        facts, now = self.services.workflow, self.services.now()
        state: State = {
            "request": intake.request(raw, channel=channel, id=run, received_at=now, attachments=attachments),
            "principal": asker,
            "run": {
                "id": run,
                "workflow": facts.name,
                "version": facts.version,
                "digest": facts.digest,
                "started_at": now.isoformat(),
                "status": "running",
                "visits": {},
                "shadow": self.shadow,
            },
            "trail": [],
            "tool_calls": [],
        }
        if session:
            state["run"]["conversation"] = intake.session_name(session)
        if parent:
            state["run"]["parent"] = parent
        if priority != "normal":
            state["run"]["priority"] = priority
        if inputs:
            state["inputs"] = dict(inputs)
        return state

    async def write_down(self, state: State) -> State:
        """Write a run down that is before its first node: from now on it is found, and `resume` starts it. The next
        turn of its conversation is taken with it. Raises `RunError` SG641."""
        if not self.conversations or not state["run"].get("conversation"):
            await self.call(self.begin, state)
            return state
        # who asks for the next turn sees either that somebody is at this one or that it is written down
        async with hold(self._approvals.place, state):
            state = await self.call(self.conversations.take_turn, state, self)
            await self.call(self.begin, state)
        return state

    def begin(self, state: State) -> None:
        """The same for a run that is no turn."""
        from langgraph.constants import START

        self.graph.update_state(_config(state["run"]["id"]), dict(state), as_node=START)

    def migrating(self, digest: str) -> "Runner":
        """This one, on which runs of another version may continue too."""
        other = copy(self)
        other._migrates = digest
        return other

    def serving(self, services: Services) -> "Runner":
        """This one, with these services."""
        other = copy(self)
        other.services = services
        return other

    def asking(self, waiting: Waiting) -> "tuple[Runner, State]":
        """The runner and the state of the run that asks: this one's, or a child's. Raises `RunError` SG603, SG604."""
        runner, state = self, self._known(waiting["run"])
        for child in waiting.get("asked_by", ()):
            runner = cast("Runner", cast("Any", runner.services.children[child["node"]]).runner)
            if (within := runner.last_state(child["run"])) is None:
                raise NotFoundError(f"no run {child['run']} in this home")
            state = within
        return runner, state

    async def resume(self, run: str) -> Outcome:
        """Start a run that was written down, resume one that a crash interrupted, or show where it is.

        Raises `RunError` SG603, SG604.
        """
        await self.call(self._known, run)
        await self._clean(run)
        waiting = await self.call(self.waiting, run)
        if waiting:
            if verdict := await self.call(self._approvals.unapplied, waiting):
                return await self._decide(waiting, verdict)
            if waiting["waits_for"] == "time" and is_due(waiting, self.services.now()):
                return await self.expire(run)
            await self.call(self._approvals.passed, run, waiting)
            return Outcome(run, await self.call(self._known, run), 0.0, waiting)
        await self.call(self._approvals.passed, run, None)
        ahead = await self.call(self._next, run)
        # read last: another process may have ended the run since
        state = await self.call(self._known, run)
        if not ahead:
            return Outcome(run, state, 0.0)
        # a trace that a crash ended before the first step has no beginning yet
        return await self.run_segment(run, None, state, begins=not state.get("trail"))

    async def recover(self, run: str) -> Outcome:
        """Resume a run that is recorded as running. One whose process was killed between its last checkpoint and its
        record has nothing left to run: it gets its record. Raises as `resume` does, and `RunError` SG608."""
        outcome = await self.resume(run)
        if not outcome.ms:
            async with hold(self._approvals.place, outcome.state):
                with self._traced(outcome.state, resume=True):
                    self._finish(outcome.state, outcome.waiting)
                await self._turn_over(outcome.state)
        return outcome

    async def give_up(self, run: str, error: RunError) -> NoReturn:
        """Record that a run has failed which is carried no more. What is written down of it stays, so that a person may
        `resume` it. Raises `error`, and `RunError` SG603, SG604, SG608."""
        state = await self.call(self._known, run)
        async with hold(self._approvals.place, state), self._turn(state):
            await release_reserved(state, self.services)
            with self._traced(state, resume=bool(state.get("trail"))):
                raise error
        raise AssertionError

    async def decide(
        self,
        run: str,
        verdict: str,
        by: Principal | None,
        *,
        pause: Pause | None = None,
        **details: Unpack[DecisionDetails],
    ) -> Outcome:
        """Approve, edit or reject what waits, or ``answer`` a question with a `text`; after the deadline, it is a
        timeout.

        An edit takes what `Waiting.edits` says: a `text` or `arguments`. `pause` as in `run_segment`.
        Raises `RunError` SG603 (no such run), SG604 (changed workflow), SG605 (not waiting, or decided already), and
        what `verdict_on` raises.
        """
        waiting, recorded = await self.record(run, verdict, by, **details)
        return await self._decide(waiting, recorded, pause)

    async def record(
        self, run: str, verdict: str, by: Principal | None, **details: Unpack[DecisionDetails]
    ) -> tuple[Waiting, HumanVerdict]:
        """Make a decision durable without going on: `resume` does. Takes and raises what `decide` does."""
        state = await self.call(self._known, run)
        waiting = await self.call(self.waiting, run)
        if waiting is None:
            raise NotWaitingError(f"run {run} is not waiting for a decision")
        if "parent" in state["run"]:
            root = root_run(run)
            raise NotWaitingError(f"run {run} asks through run {root}", hint=f"Decide on {root}")
        if details.get("asked_at", waiting["asked_at"]) != waiting["asked_at"]:
            raise NotWaitingError(f"run {run} waits for another decision by now")
        now = self.services.now()
        not_before(waiting, now)
        if by and is_due(waiting, now):
            await self.expire(run)
            raise late(waiting)
        asker, its = await self.call(self.asking, waiting)
        # a person who was shown a redacted value may write it again
        conceal = concealing(await self.vault.hidden(run))
        outer, asking = Party(state, self.services), Party(its, asker.services)
        decision = verdict_on(
            waiting, verdict, by, cast("DecisionDetails", conceal(dict(details))), outer=outer, asking=asking
        )
        await self.call(self._approvals.claim, waiting, decision)
        return waiting, decision

    async def may_decide(self, run: str, person: Principal) -> Waiting:
        """What a run asks, where this person may decide on it now. Raises `RunError` SG603, SG604, SG605, SG610."""
        waiting = await self.call(self.waiting, run)
        if waiting is None or waiting["waits_for"] != "approval":
            raise NotWaitingError(f"run {run} is not waiting for a decision")
        if is_due(waiting, self.services.now()):
            raise late(waiting)
        asker, its = await self.call(self.asking, waiting)
        outer = Party(await self.call(self._known, run), self.services)
        check_rights(waiting, person, outer, Party(its, asker.services))
        return waiting

    async def expire(self, run: str, *, pause: Pause | None = None) -> Outcome:
        """Go on after the deadline: refuse, or as a question's and a timer's node says. Raises as `decide` does, SG605
        also before the deadline."""
        waiting = await self.call(self.waiting, run)
        if waiting is None or not is_due(waiting, self.services.now()):
            raise NotWaitingError(f"run {run} has not passed its deadline")
        if verdict := await self.call(self._approvals.unapplied, waiting):
            # decided in time, by a process that was killed
            return await self._decide(waiting, verdict, pause)
        return await self.decide(run, "timeout", None, pause=pause, reason="nobody decided in time")

    def waiting(self, run: str) -> Waiting | None:
        """What a run waits for; None when it does not."""
        snapshot = self.graph.get_state(_config(run))
        asked = [interrupt for task in snapshot.tasks for interrupt in task.interrupts]
        if not asked:
            return None
        return put_to_people(cast("State", snapshot.values), cast("Interrupt", asked[0].value))

    async def _decide(self, waiting: Waiting, verdict: HumanVerdict, pause: Pause | None = None) -> Outcome:
        from langgraph.types import Command

        state = await self.call(self._known, waiting["run"])
        if self.conversations and verdict["verdict"] == "answer":
            await self.call(self.conversations.reopen, waiting["run"])
        outcome = await self.run_segment(waiting["run"], Command(resume=verdict), state, pause=pause)
        await self.call(self._approvals.applied, waiting)
        return outcome

    async def run_segment(
        self,
        run: str,
        given: Any,
        state: State,
        *,
        begins: bool | None = None,
        pause: Pause | None = None,
    ) -> Outcome:
        """Run until an end, a person or a pause, under one trace.

        `given` is the initial state, a LangGraph `Command`, or None to continue; `state` is what it continues from.
        `begins` says whether the trace begins here; by default when the run does. Raises `RunError` SG608 when another
        process is running it.
        """
        from langgraph.errors import GraphRecursionError

        started = time.perf_counter()
        resumed = given is not state if begins is None else not begins
        async with hold(self._approvals.place, state), self._turn(state):
            with self._traced(state, resume=resumed), one_version():
                try:
                    # "sync": a step's checkpoint is written before the next step starts; a crash repeats one node
                    result = await self.graph.ainvoke(
                        given,
                        _config(run),
                        context=self.services,
                        durability="sync",
                        interrupt_after=self._steps if pause and pause.after == "*" else pause and pause.after,
                        interrupt_before=pause.before if pause else None,
                    )
                except Exception as error:
                    await release_reserved(await self.call(self.last_state, run), self.services)
                    if isinstance(error, GraphRecursionError):
                        raise RunError("SG629", f"run {run} took more steps than its workflow allows") from error
                    raise
                finally:
                    await self._clean(run)
                waiting = await self.call(self.waiting, run) if result.pop("__interrupt__", None) else None
                after = cast("State", result)
                if waiting:
                    await release_reserved(after, self.services)
                self._finish(after, waiting)
        return Outcome(run, after, (time.perf_counter() - started) * 1000, waiting)

    @property
    def _steps(self) -> list[str]:
        """Every task of the graph that ends a step; the branches of a fork do not before they are put together."""
        return [task for task in self.graph.nodes if "/" not in task[:-1]]

    def _traced(self, state: State, *, resume: bool) -> "AbstractContextManager[Any]":
        facts = self.services.workflow
        return self.tracer.run(
            state["run"]["id"],
            workflow=facts.name,
            version=facts.version,
            digest=facts.digest,
            session=state["run"].get("conversation", ""),
            user=state["principal"]["id"],
            shadow=self.shadow,
            resume=resume,
            input=state["request"]["text"],
            metadata=_metadata(state["request"]),
        )

    @asynccontextmanager
    async def _turn(self, state: State) -> AsyncGenerator[None]:
        """Whatever ends the block ends the turn, but for a cancellation, as by a closing service: it is resumed."""
        try:
            yield
        except Exception:
            await self._turn_over(state)
            raise
        await self._turn_over(state)

    async def _turn_over(self, state: State) -> None:
        if self.conversations and "conversation" in state:
            await self.call(self.conversations.over, state["run"]["id"])

    def _finish(self, state: State, waiting: Waiting | None) -> None:
        status = "waiting" if waiting else state["run"]["status"]
        self.tracer.finish(status, state, all_llm_usd=self.all_llm_usd(state))

    async def shown(self, outcome: Outcome, reader: Principal) -> str:
        """The answer as `reader` may see it: what was redacted is restored where the policies allow it, on record."""
        return await revealed(outcome.text, outcome.state, reader, self.services, self.vault)

    async def evidence(self, waiting: Waiting, reader: Principal) -> Waiting:
        """What a waiting run shows to `reader`; as `shown`, and without the draft where they may not read a source."""
        state = await self.call(self._known, waiting["run"])
        waiting = await self.call(self.readable, waiting, state, reader)
        asker, its = await self.call(self.asking, waiting)
        return await revealed(waiting, its, reader, asker.services, asker.vault)

    def readable(self, waiting: Waiting, state: State, reader: Principal) -> Waiting:
        """A waiting run as `reader` may know of it: without what rests on documents that they may not read."""
        why = self.withheld(state, reader)
        if waiting.get("asked_by") and not why:
            asker, its = self.asking(waiting)
            why = asker.withheld(its, reader)
        if not why:
            return waiting
        return {**waiting, "withheld": why, "draft": "", "documents": [], "checks": [], "proposal": {}}

    def withheld(self, state: State, reader: Principal) -> str:
        """Why `reader` is not shown what this run has drafted; empty when policy lets them read every source of it."""
        unread = unreadable(state, reader, self.services)
        return why_withheld(reader, len(unread), len(sources(state))) if unread else ""

    def read_by(self, outcome: Outcome, reader: Principal) -> Outcome:
        """An outcome as `reader` may know of it, who need not be the one that it was made for."""
        why = "" if outcome.state["principal"] == reader else self.withheld(outcome.state, reader)
        if not why:
            return outcome
        waiting = outcome.waiting and self.readable(outcome.waiting, outcome.state, reader)
        return replace(outcome, withheld=why, waiting=waiting)

    async def _clean(self, run: str) -> None:
        """Put placeholders where this run's checkpoints still hold what was redacted later: the request as it came in,
        a draft before its check."""
        hidden = await self.vault.hidden(run)
        rewrite = getattr(cast("Any", self.graph.checkpointer), "rewrite", None)
        if hidden and rewrite:
            await self.call(rewrite, run, concealing(hidden))

    def all_llm_usd(self, state: State) -> float | None:
        """What the large model would have cost for this run's prompts, and for the words of its answer where the small
        one only picked them or no model was called; None where the workflow has no large model."""
        models, spend, answer = self.services.models, state.get("spend"), state.get("answer")
        try:
            models.describe("llm")
        except ModelError:
            return None
        written = models.tokens(answer["text"] if answer else "")
        if spend and spend["completion_tokens"]:
            return models.price("llm", spend["prompt_tokens"], max(spend["completion_tokens"], written))
        return models.price("llm", models.tokens(question(state)), written)

    def waits(self, run: str) -> bool:
        return self.waiting(run) is not None

    def asks(self, run: str) -> bool:
        """Whether it waits for its requester's answer."""
        waiting = self.waiting(run)
        return waiting is not None and waiting["waits_for"] == "answer"

    async def question_in(self, session: str, asker: Principal) -> str:
        """The run in a conversation of theirs that waits for their answer; empty where none does."""
        if not (self.conversations and session):
            return ""
        return await self.call(self.conversations.asking, asker["id"], intake.session_name(session), self.asks)

    def answered_by(self, request: str, runs: Sequence[str]) -> str:
        """As `Approvals.answered_by`."""
        return self._approvals.answered_by(request, runs)

    def unapplied(self, waiting: Waiting) -> HumanVerdict | None:
        """As `Approvals.unapplied`."""
        return self._approvals.unapplied(waiting)

    def in_progress(self, run: str) -> bool:
        return present(self._approvals.place, run)

    def last_state(self, run: str) -> State | None:
        values = self.graph.get_state(_config(run)).values
        if "run" in values:
            return cast("State", values)
        # interrupted before its first node: its initial state is still pending
        from langgraph.constants import START

        saved = cast("Any", self.graph.checkpointer).get_tuple(_config(run))
        return saved.checkpoint["channel_values"].get(START) if saved else None

    def unfinished(self, run: str) -> bool:
        """Whether this run has started and is where `resume` can continue."""
        return self.last_state(run) is not None and bool(self._next(run))

    def _next(self, run: str) -> Sequence[str]:
        # not the snapshot's `next`: that leaves out a node whose results are written and not yet checkpointed
        return [task.name for task in self.graph.get_state(_config(run)).tasks]

    def _known(self, run: str) -> State:
        state = self.last_state(run)
        if state is None:
            raise NotFoundError(f"no run {run} in this home", hint="List all runs: sluicegate trace list")
        if state["run"]["digest"] not in {self.services.workflow.digest, self._migrates}:
            raise RunError(
                "SG604",
                f"run {run} began on {state['run']['workflow']} {state['run']['digest'][:12]}, which has changed since",
                hint="Finish it on the version it started with (--kept), or continue on the current one (--migrate)",
            )
        return state


def _config(run: str) -> "RunnableConfig":
    return {"configurable": {"thread_id": run}}


def _metadata(request: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {key: request[key] for key in ("channel", "received_at", "size", "cleaned")}
    attached = [one["name"] for one in request.get("attachments", ())]
    return {**metadata, **({"attachments": attached} if attached else {})}
