"""What a person may know of a service's runs: their outcomes, their decisions, and what waits for this person."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sluicegate.errors import NotFoundError, NotWaitingError, RunError, SluicegateError
from sluicegate.graphs.conversations.turns import ConversationRow, TurnRow, no_conversation
from sluicegate.graphs.runtime.intake import session_name
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.graphs.runtime.waiting.approvals import Waiting
from sluicegate.graphs.session.checkpoint_reader import ApprovalState, approval_state, recorded
from sluicegate.nodes.sources import sources
from sluicegate.observe.tracing.describers import without_words
from sluicegate.observe.tracing.masking import Masking
from sluicegate.observe.tracing.reading.filters import Sight
from sluicegate.observe.tracing.spans import Score
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.views.access import may_see, sees_all, sight_of
from sluicegate.services import PolicyEngine, Services
from sluicegate.serving.approvals import ApprovalPage, permitted, waiting_for
from sluicegate.serving.evidence import DecisionMade, Evidence, decision_on, weighed
from sluicegate.serving.execution.executor import Executor
from sluicegate.serving.execution.suspects import Suspects, given_up
from sluicegate.serving.versions import Versions
from sluicegate.state import Principal, State

__all__ = ["RunReader", "approvals", "recorded_state", "unknown_run"]

log = logging.getLogger(__name__)


class RunReader:
    """The runs of one workflow, as this machine's store and the checkpoints have them. Used from the service's loop."""

    def __init__(self, versions: Versions, store: Store, suspects: Suspects, executor: Executor) -> None:
        self._versions, self._store, self._suspects, self._executor = versions, store, suspects, executor
        self._masking: Masking | None = None

    async def find(self, run: str, asker: Principal) -> tuple[Outcome | None, dict[str, Any]]:
        """As `Service.find`."""
        row: dict[str, Any] = await asyncio.to_thread(self._row, run)
        if not self.sees(row, asker):
            raise unknown_run(run)
        outcome, after = await asyncio.to_thread(_outcome, run, row["ms"])
        if outcome and outcome.status != "running":
            # another machine may have continued it since this one wrote its row
            row = {**row, "status": outcome.status}
        if outcome and (failure := await self._failure(outcome, after)):
            row = {**row, "status": "failed", "failure": failure}
        if outcome and sources(outcome.state):
            async with self._versions.using(row["digest"]) as opened:
                withheld = await opened.runner.call(opened.runner.withheld, outcome.state, asker)
            outcome = replace(outcome, withheld=withheld)
        return outcome, row

    async def _failure(self, outcome: Outcome, after: str) -> RunError | None:
        """By which error a run failed that has not ended, on whichever machine."""
        if outcome.status not in ("running", "waiting"):
            return None
        if (await asyncio.to_thread(self._suspects.of, outcome.run)).given_up:
            return given_up(outcome.run)
        return await self._executor.failure(outcome.run, after) if outcome.status == "running" else None

    async def conversations(self, asker: Principal) -> list[ConversationRow]:
        """As `Service.conversations`."""
        runner = self._versions.serving.runner
        return await runner.call(runner.conversations.all, asker["id"]) if runner.conversations else []

    async def turns(self, session: str, asker: Principal) -> list[tuple[TurnRow, Outcome | None]]:
        """As `Service.turns`."""
        runner = self._versions.serving.runner
        if runner.conversations is None:
            raise no_conversation(session)
        rows = await runner.call(runner.conversations.turns, asker["id"], session_name(session))
        return [(row, await self._seen(row.run, asker)) for row in rows]

    async def _seen(self, run: str, asker: Principal) -> Outcome | None:
        try:
            return (await self.find(run, asker))[0]
        except SluicegateError:
            # without its version nobody can tell what they may read of it
            return None

    async def passages(self, run: str, document: str, asker: Principal) -> list[str]:
        """As `Service.passages`."""
        outcome, row = await self.find(run, asker)
        read = [one for one in outcome.state.get("documents", []) if one["id"] == document] if outcome else []
        if outcome is None or not read:
            raise NotFoundError(f"run {run} has read no document {document!r}")
        if outcome.withheld:
            raise RunError("SG610", outcome.withheld)
        async with self._versions.using(row["digest"]) as opened:
            retriever = opened.runner.services.retriever
            return await opened.runner.call(lambda: [retriever.text(one) for one in read])

    async def trail(self, run: str, asker: Principal) -> list[dict[str, Any]]:
        """As `Service.trail`."""
        outcome, _ = await self.find(run, asker)
        decisions = await asyncio.to_thread(self._store.decisions, run)
        if outcome is None or not outcome.withheld:
            return decisions
        return [{**each, "values": without_words(each["values"])} for each in decisions]

    async def feedback(self, run: str, asker: Principal, name: str, value: float | bool | str, comment: str) -> Score:
        """As `Service.feedback`."""
        _, row = await self.find(run, asker)
        async with self._versions.using(row["digest"]) as opened:
            return await asyncio.to_thread(opened.tracer.feedback, run, name, value, comment=comment, by=asker["id"])

    async def approval(self, run: str, asker: Principal) -> Waiting:
        """As `Service.approval`."""
        question, state = await asyncio.to_thread(self.question, run, asker)
        if question["waits_for"] != "approval":
            raise NotWaitingError(f"run {run} is not waiting for a decision")
        return await self.readable(question, state, asker)

    async def evidence(self, run: str, asker: Principal) -> Evidence:
        """As `Service.evidence`."""
        asked = await asyncio.to_thread(self._asked, run, asker)
        serving = self._versions.serving.workflow.digest
        async with self._versions.using(asked.state["run"]["digest"]) as opened:
            return await weighed(opened.runner, asked, serving, asker)

    async def standing(self, run: str, asker: Principal) -> tuple[Waiting, DecisionMade | None]:
        """As `Service.standing`."""
        asked = await asyncio.to_thread(self._asked, run, asker)
        assert asked.question
        return asked.question, await asyncio.to_thread(decision_on, asked)

    def _asked(self, run: str, asker: Principal) -> ApprovalState:
        """What a run asks people to approve, or asked last, when `asker` is one of them."""
        sees = self.sees(self._row(run), asker)
        asked = approval_state(run)
        try:
            permitted(asked, asker, self.services, sees=sees)
        except NotFoundError:
            raise unknown_run(run) from None
        except NotWaitingError:
            if asked.question is None or "approval" not in asked.state:
                raise
        if asked.question is None or asked.question["waits_for"] != "approval":
            raise NotWaitingError(f"run {run} is not waiting for a decision")
        return asked

    def question(self, run: str, asker: Principal) -> tuple[Waiting, State]:
        """What a run asks, and its state, without opening its version. Raises as `Service.approval` does."""
        sees = self.sees(self._row(run), asker)
        try:
            return permitted(approval_state(run), asker, self.services, sees=sees)
        except NotFoundError:
            raise unknown_run(run) from None

    async def timed(self, outcome: Outcome) -> Outcome:
        """A retry took no time of its own: how long the run was at work is in its record."""
        try:
            return replace(outcome, ms=(await asyncio.to_thread(self._store.run, outcome.run))["ms"])
        except RunError:
            # not written yet
            return outcome

    @property
    def services(self) -> Services:
        """Of the version that serves."""
        return self._versions.serving.runner.services

    async def readable(self, question: Waiting, state: State, asker: Principal) -> Waiting:
        """What waits, as `asker` may know of it: without what rests on documents that they may not read."""
        if not sources(state):
            return question
        async with self._versions.using(question["digest"]) as opened:
            return await opened.runner.call(opened.runner.readable, question, state, asker)

    def sees_all(self, asker: Principal) -> bool:
        """As `Service.sees_all`."""
        return sees_all(asker, *self._rules)

    def sees(self, row: Mapping[str, Any], asker: Principal) -> bool:
        """Whether policy lets them see a run of this workflow, by its row of the store."""
        return may_see(row, asker, *self._rules)

    def sight(self, requesters: Iterable[str], asker: Principal) -> Sight:
        """Where to look for the runs that they may see; `requesters` are those of the store."""
        return sight_of(self._versions.name, requesters, asker, *self._rules)

    @property
    def _rules(self) -> tuple[PolicyEngine, Masking]:
        serving = self._versions.serving
        if self._masking is None or self._masking.settings is not serving.workflow.config.tracing:
            # asked for each row of a list, and not made in a moment
            self._masking = Masking(serving.workflow.config.tracing)
        return serving.runner.services.policy, self._masking

    def workflow_of(self, run: str) -> str:
        """The workflow that a run is of, whichever. Raises `NotFoundError` SG603."""
        return self._any_row(run)["workflow"]

    def _row(self, run: str) -> dict[str, Any]:
        row = self._any_row(run)
        if row["workflow"] != self._versions.name or row["shadow"]:
            raise unknown_run(run)
        return row

    def _any_row(self, run: str) -> dict[str, Any]:
        try:
            row = self._store.run(run)
        except NotFoundError:
            row = None
        # the store takes the start of an id too; here an id is a whole one
        if row is None or row["run_id"] != run:
            row = _row_of_another_machine(run)
        return row


async def approvals(readers: Mapping[str, RunReader], asker: Principal, limit: int, after: str) -> ApprovalPage:
    """As `Service.approvals`, over all of these workflows, by their names."""
    services = {name: reader.services for name, reader in readers.items()}
    waiting, following = await asyncio.to_thread(waiting_for, services, asker, limit, after)
    page = ApprovalPage(next=following)
    for question, state in waiting:
        try:
            page.append(await readers[question["workflow"]].readable(question, state, asker))
        except SluicegateError as error:
            log.warning("waiting run %s cannot be shown: %s", question["run"], error.code)
    return page


def recorded_state(run: str) -> State | None:
    """The last state of a run; None when nothing of it is written down."""
    try:
        return recorded(run)
    except NotFoundError:
        return None


def _outcome(run: str, ms: float) -> tuple[Outcome | None, str]:
    """Its outcome so far, where it is written down, and when it asked last."""
    try:
        standing = approval_state(run)
    except NotFoundError:
        return None, ""
    asked = standing.question
    return Outcome(run, standing.state, ms, asked if standing.open else None), asked["asked_at"] if asked else ""


def _row_of_another_machine(run: str) -> dict[str, Any]:
    state = recorded_state(run)
    if state is None:
        # with the same message as for a run that may not be seen
        raise unknown_run(run)
    facts = {key: state["run"][key] for key in ("workflow", "version", "digest", "shadow", "status")}
    return {**facts, "run_id": run, "user": state["principal"]["id"], "ms": 0.0}


def unknown_run(run: str) -> RunError:
    return NotFoundError(f"no run {run!r} that you may see", hint="Only the requester may see it")
