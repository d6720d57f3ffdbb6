"""What is to be announced, derived from what is recorded: waits, decisions, incidents, and what is left of budgets.

Nothing is announced on a run's own way. What a store has recorded and webhooks have not is marked there so; here it is
written into the outbox and then marked. A process that is killed in between does both again, which adds nothing. A wait
that ends before somebody looks is told of by its decision alone.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from time import time
from typing import Any, Literal, cast

from sluicegate.errors import NotFoundError, SluicegateError
from sluicegate.graphs.runtime.checkpoints import open_checkpoints
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.runtime.loop_thread import wait_for
from sluicegate.graphs.runtime.waiting.approvals import Approvals, Decided, Waiting
from sluicegate.graphs.session.checkpoint_reader import approval_state
from sluicegate.observe.incidents import Incidents
from sluicegate.observe.tracing.masking import Masking
from sluicegate.policies.ledger.calls import calendar
from sluicegate.policies.ledger.factory import open_ledger
from sluicegate.serving.service import Service
from sluicegate.serving.webhooks.config import Destination
from sluicegate.serving.webhooks.events import (
    ApprovalDecided,
    ApprovalWaiting,
    BudgetReached,
    EventType,
    IncidentOpened,
    Words,
)
from sluicegate.serving.webhooks.outbox import Announcement, Outbox
from sluicegate.state import NOBODY, State
from sluicegate.storage.database import place

__all__ = ["Announcer"]

_OLDEST = timedelta(days=1)
"""What was decided before, while nobody announced it, is no news."""
_BUDGETS_S = 5.0
"""Seconds between two looks at the budgets."""

log = logging.getLogger(__name__)

_Served = Mapping[str, Service]


class Announcer:
    """Of one process, for the workflows that it serves. Blocks: not for an event loop that runs use."""

    def __init__(
        self,
        services: Callable[[], Iterable[Service]],
        outbox: Outbox,
        destinations: Sequence[Destination],
        *,
        now: Callable[[], float] = time,
    ) -> None:
        self._services, self._outbox, self._destinations, self._now = services, outbox, destinations, now
        self._texts = any(each.config.texts == "masked" for each in destinations)
        self._people = any(each.config.people for each in destinations)
        self._checkpoints, self._approvals = open_checkpoints(place()), Approvals(place())
        self._incidents = Incidents()
        self._of_others: set[tuple[str, ...]] = set()
        """What is recorded of workflows that are not served here."""
        self._looked = float("-inf")

    def close(self) -> None:
        self._checkpoints.close()
        self._approvals.close()
        self._incidents.disconnect()

    def once(self) -> None:
        """Look at everything once."""
        served = {service.name: service for service in self._services()}
        for look in (self._look_at_decisions, self._look_at_waits, self._look_at_incidents, self._look_at_budgets):
            try:
                look(served)
            except SluicegateError as error:
                log.warning("not everything could be announced: %s", error)

    # --- waits and decisions ---

    def _look_at_decisions(self, served: _Served, run: str = "") -> None:
        for decided in self._approvals.unannounced(run):
            key = (decided.run, decided.node, decided.asked_at)
            if self._moment - datetime.fromisoformat(decided.decided_at) > _OLDEST:
                self._approvals.announced(decided)
            elif key not in self._of_others:
                state = self._checkpoints.state(decided.run)
                service = served.get(state["run"]["workflow"]) if state else None
                if state and service is None:
                    self._of_others.add(key)
                    continue
                if state and service:
                    self._announce(self._decision(decided, state, service))
                self._approvals.announced(decided)

    def _look_at_waits(self, served: _Served) -> None:
        found = self._checkpoints.interrupts.unannounced()
        self._of_others = {key for key in self._of_others if len(key) != 2 or key in found}
        for run, checkpoint in found:
            if (run, checkpoint) in self._of_others:
                continue
            try:
                asked = approval_state(run)
            except NotFoundError:
                continue
            service = served.get(asked.state["run"]["workflow"])
            if service is None:
                self._of_others.add((run, checkpoint))
                continue
            if asked.open and asked.question and asked.question["waits_for"] == "approval":
                # what was decided before it is told before it: both were on disk when this was
                self._look_at_decisions(served, run)
                self._announce(self._wait(asked.question, asked.state, service))
            self._checkpoints.interrupts.announced(run, checkpoint)

    def _wait(self, asked: Waiting, state: State, service: Service) -> Announcement | None:
        words = None
        if self._texts and not state["run"]["shadow"]:
            # where a source is not everybody's to read, neither is the draft
            shown = wait_for(service.reader.readable(asked, state, principal(NOBODY)))
            mask = _masking(service)
            words = Words(request=mask(asked["request"]), draft=mask(shown["draft"]), reason=mask(asked["reason"]))
        data = ApprovalWaiting(
            **self._facts(state, asked["node"], asked["asked_at"]),
            texts=words,
            approvers=asked["approvers"],
            escalate_to=asked["escalate_to"],
            deadline=asked["deadline"],
            asked_by=[each["workflow"] for each in asked.get("asked_by", ())],
        )
        return self._of_run("approval.waiting", state, asked["node"], asked["asked_at"], asked["asked_at"], data)

    def _decision(self, decided: Decided, state: State, service: Service) -> Announcement | None:
        verdict, words = decided.verdict, None
        if self._texts:
            mask = _masking(service)
            words = Words(request=mask(state["request"]["text"]), reason=mask(verdict["reason"]))
        by = verdict["principal"]
        data = ApprovalDecided(
            **self._facts(state, decided.node, decided.asked_at),
            texts=words,
            verdict=cast("Any", verdict["verdict"]),
            decided_at=decided.decided_at,
            by=by["id"] if by and self._people else None,
        )
        return self._of_run("approval.decided", state, decided.node, decided.asked_at, decided.decided_at, data)

    def _facts(self, state: State, node: str, asked_at: str) -> dict[str, Any]:
        run, intent = state["run"], state.get("intent")
        return {
            "run": run["id"],
            **{key: run[key] for key in ("workflow", "version", "digest")},
            "node": node,
            "intent": intent["label"] if intent else "",
            "risk": intent["risk"] if intent else "high",
            "asked_at": asked_at,
            "requester": state["principal"]["id"] if self._people else None,
        }

    def _of_run(
        self, kind: EventType, state: State, node: str, asked_at: str, at: str, data: ApprovalWaiting | ApprovalDecided
    ) -> Announcement | None:
        run = state["run"]
        if run["shadow"]:
            return None
        key = (run["id"], node, asked_at)
        return Announcement(kind, key, run["workflow"], run["id"], at, data.model_dump(mode="json"))

    # --- incidents and budgets ---

    def _look_at_incidents(self, served: _Served) -> None:
        for one in self._incidents.unannounced():
            if ("incident", one["id"], "") in self._of_others:
                continue
            # what is of no workflow is everybody's
            if one["system"] not in (*served, "audit log"):
                self._of_others.add(("incident", one["id"], ""))
                continue
            told = IncidentOpened(
                id=one["id"], kind=one["kind"], system=one["system"], source=one["source"], severity=one["severity"],
                description=one["description"], aware_at=one["aware_at"], deadline=one["deadline"],
            )  # fmt: skip
            data = told.model_dump(mode="json")
            self._announce(Announcement("incident.opened", (one["id"],), one["system"], "", one["aware_at"], data))
            self._incidents.announced(one["id"])

    def _look_at_budgets(self, served: _Served) -> None:
        now = self._now()
        if now - self._looked < _BUDGETS_S:
            return
        self._looked = now
        # before the sums are read: at the turn of a day, those of the new one must not count for the old one
        day, month = calendar(now)
        for name, service in served.items():
            with closing(open_ledger(service.versions.serving.workflow.config.budget)) as ledger:
                if not ledger.capped():
                    continue
                caps, used_up = ledger.caps(name), ledger.used_up(name, now=now)
            for cap in caps:
                if cap.name.startswith("per_principal") or not cap.limit:
                    continue
                period = month if cap.name.startswith("per_month") else day
                full = cap.spent >= cap.limit or (cap.name, cap.of, period) in used_up
                levels: list[Literal[80, 100]] = [80, 100] if full else [80]
                for percent in levels if full or cap.spent >= 0.8 * cap.limit else ():
                    data = BudgetReached(
                        workflow=name, cap=cap.name, of=cap.of, period=period, percent=percent, unit=cap.unit,
                        limit=cap.limit, spent=cap.spent,
                    )  # fmt: skip
                    key = (name, cap.name, cap.of, period)
                    at = self._moment.isoformat()
                    kind = "budget.100" if percent == 100 else "budget.80"
                    self._announce(Announcement(kind, key, name, "", at, data.model_dump(mode="json")))

    # --- both ---

    def _announce(self, event: Announcement | None) -> None:
        if event and (wanted := [each.name for each in self._destinations if each.wants(event.type, event.workflow)]):
            self._outbox.add(event, wanted)

    @property
    def _moment(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)


def _masking(service: Service) -> Callable[[str], str]:
    return Masking(service.versions.serving.workflow.config.tracing).payload
