"""Decisions on waiting runs: what each allows, and that each is claimed once, durably, before the run continues.

The claim makes deciding twice impossible, across processes; it also stores the verdict, so that a crash between the
decision and the run's next step loses neither: the run is resumed with the recorded verdict.
"""

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict, cast

from sluicegate.errors import NotWaitingError
from sluicegate.graphs.proofs.flow import Flow
from sluicegate.graphs.runtime.build import BranchCondition, decide
from sluicegate.nodes.kinds.call_tool import CallTool
from sluicegate.nodes.kinds.control.ask import Ask
from sluicegate.nodes.kinds.extract import Extract
from sluicegate.nodes.kinds.human_interrupt import HumanInterrupt, HumanVerdict, Interrupt
from sluicegate.services import CallAhead
from sluicegate.state import State, question
from sluicegate.storage.database import Execute, Place, open_database
from sluicegate.storage.schemas import APPROVALS

__all__ = ["CLOCK_SLACK", "Approvals", "Decided", "DecisionDetails", "Waiting", "call_ahead", "deadline"]

CLOCK_SLACK = timedelta(minutes=5)
"""How far a clock may step back without harm: as far as time servers correct it in normal running."""


class Waiting(Interrupt):
    """One run that waits for a person, with the evidence they decide on."""

    run: str
    workflow: str
    digest: str
    principal: str
    request: str
    intent: str
    withheld: str
    """Why the reader is not shown draft, sources, checks and proposal; empty when they are."""
    deadline: str
    """Deadline after which the request is refused, ISO 8601."""


class DecisionDetails(TypedDict, total=False):
    """What a person may say with a verdict."""

    reason: str
    text: str
    """An edit's text to send; the answer to a question."""
    arguments: Mapping[str, Any] | None
    """An edit's arguments of the tool call to change; None takes one out."""
    request: str
    """Of an answer, the id that its sender gave the request that it came as."""
    asked_at: str
    """When what is decided on was asked; where a run asks something else by now, nothing is decided."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision, or that nobody made one in time."""

    run: str
    node: str
    asked_at: str
    verdict: HumanVerdict
    decided_at: str


def put_to_people(state: State, asked: Interrupt) -> Waiting:
    """What an interrupt of a run in this state asks, with the evidence."""
    intent, asking = state.get("intent"), asked.get("asked_by", [])[-1:]
    request, label = question(state), intent["label"] if intent else ""
    return {
        # a run of 0.1.0 says neither
        "waits_for": "approval",
        "edits": "arguments" if asked["proposal"] else "text",
        **asked,
        "withheld": "",
        "run": state["run"]["id"],
        "workflow": state["run"]["workflow"],
        "digest": state["run"]["digest"],
        "principal": state["principal"]["id"],
        "request": asking[0]["request"] if asking else request,
        "intent": asking[0]["intent"] if asking else label,
        "deadline": deadline(asked["asked_at"], asked["timeout_s"]),
    }


class Approvals:
    """The decisions of one home, or of the machines that share a server. Raises as `Database` does."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._database = open_database(place, APPROVALS)
        self.call = self._database.call
        """Off the event loop, where a server is asked."""
        self.close = self._database.close

    def claim(self, waiting: Waiting, verdict: HumanVerdict) -> None:
        """Record this verdict, once. Raises `RunError` SG605 when another was recorded before."""
        said, now = json.dumps(verdict, ensure_ascii=False), datetime.now(UTC).isoformat()
        with self._database.writing() as execute:
            got = execute(
                "INSERT INTO decisions (run, node, asked_at, verdict, decided_at, waits_for, announced)"
                " VALUES (?, ?, ?, ?, ?, ?, 0) ON CONFLICT (run, node, asked_at) DO NOTHING RETURNING run",
                (*_key(waiting), said, now, waiting["waits_for"]),
            )
            if got:
                return
            (row,) = execute(f"SELECT verdict FROM decisions WHERE {_ONE}", _key(waiting))  # noqa: S608
        given = json.loads(row["verdict"])
        by = given["principal"]["id"] if given["principal"] else "the clock"
        if given["verdict"] == "answer":
            raise NotWaitingError(f"the question of run {waiting['run']} was answered already", hint=_SAY_IT)
        raise NotWaitingError(f"run {waiting['run']} was decided already: {given['verdict']} by {by}")

    def unapplied(self, waiting: Waiting) -> HumanVerdict | None:
        """The verdict that was recorded but not yet applied, after a crash."""
        found = self.recorded(waiting)
        return found[0] if found and not found[1] else None

    def recorded(self, waiting: Waiting) -> tuple[HumanVerdict, bool] | None:
        """The verdict on it, and whether the run has gone on with it; None while there is none."""
        with self._database.reading() as execute:
            rows = execute(f"SELECT verdict, applied FROM decisions WHERE {_ONE}", _key(waiting))  # noqa: S608
        return (cast("HumanVerdict", json.loads(rows[0]["verdict"])), bool(rows[0]["applied"])) if rows else None

    def answered_by(self, request: str, runs: Sequence[str]) -> str:
        """The one of these runs that a request of this id has answered; empty where it has answered none."""
        with self._database.reading() as execute:
            for run in runs:
                for row in execute("SELECT verdict FROM decisions WHERE run = ?", (run,)):
                    if json.loads(row["verdict"]).get("request") == request:
                        return run
        return ""

    def unannounced(self, run: str = "") -> list[Decided]:
        """Decisions on approvals that no webhook has, the oldest first; of one run where it is named."""
        with self._database.reading() as execute:
            rows = execute(
                "SELECT run, node, asked_at, verdict, decided_at FROM decisions WHERE announced = 0"
                " AND waits_for = 'approval' AND ? IN ('', run) ORDER BY decided_at",
                (run,),
            )
        return [Decided(**{**row, "verdict": json.loads(row["verdict"])}) for row in rows]

    def announced(self, decided: Decided) -> None:
        with self._database.writing() as execute:
            execute(
                f"UPDATE decisions SET announced = 1 WHERE {_ONE}",  # noqa: S608
                (decided.run, decided.node, decided.asked_at),
            )

    def applied(self, waiting: Waiting) -> None:
        with self._database.writing() as execute:
            _settle(execute, "run = ? AND asked_at <= ?", (waiting["run"], waiting["asked_at"]))

    def passed(self, run: str, waiting: Waiting | None) -> None:
        """Mark the decisions as applied that a run has moved past: all before what it waits for now. A crash may have
        hit before `applied`."""
        with self._database.writing() as execute:
            if waiting:
                _settle(execute, "run = ? AND asked_at < ?", (run, waiting["asked_at"]))
            else:
                _settle(execute, "run = ?", (run,))


def _settle(execute: Execute, which: str, values: tuple[str, ...]) -> None:
    """Mark decisions as applied. The words of an answer are the run's from then on, which redacts and keeps them."""
    for row in execute(f"SELECT node, asked_at, run, verdict FROM decisions WHERE {which} AND applied = 0", values):  # noqa: S608
        verdict = json.loads(row["verdict"])
        if verdict["verdict"] == "answer":
            verdict["text"] = ""
        execute(
            f"UPDATE decisions SET applied = 1, verdict = ? WHERE {_ONE}",  # noqa: S608
            (json.dumps(verdict, ensure_ascii=False), row["run"], row["node"], row["asked_at"]),
        )


_SAY_IT = "Send what you have to say as a new request"
_ONE = "run = ? AND node = ? AND asked_at = ?"


def _key(waiting: Waiting) -> tuple[str, str, str]:
    return waiting["run"], waiting["node"], waiting["asked_at"]


def deadline(asked_at: str, timeout_s: float) -> str:
    """Deadline after which the request is refused, ISO 8601."""
    return (datetime.fromisoformat(asked_at) + timedelta(seconds=timeout_s)).isoformat()


def call_ahead(
    flow: Flow, conditions: Mapping[str, BranchCondition], settings: Mapping[str, Any]
) -> Callable[[str, State], CallAhead | None]:
    """`services.WorkflowFacts.ahead` of a workflow."""

    def ahead(node: str, state: State) -> CallAhead | None:
        """The nearest call that a run in this state may come to when it leaves `node`, before a person is asked again;
        whatever the conditions after the first branch decide."""
        waiting = deque([decide(flow, flow.nodes[node], conditions, state)["to"]])
        seen = set(waiting)
        while waiting:
            name = waiting.popleft()
            its = settings.get(name)
            if isinstance(its, CallTool):
                intent = state.get("intent")
                tool = its.tool or (intent["tool"] if intent else "")
                return CallAhead(tool, _fields(settings, state), its.arguments) if tool else None
            if name and not isinstance(its, HumanInterrupt | Ask):
                further = [edge.to for edge in flow.nodes[name].ways if edge.to not in seen]
                seen.update(further)
                waiting.extend(further)
        return None

    return ahead


def _fields(settings: Mapping[str, Any], state: State) -> Mapping[str, Any]:
    """The schema of its own that the last `extract` node went by; empty for the tool's."""
    for entry in reversed(state.get("trail", [])):
        its = settings.get(entry["node"])
        if isinstance(its, Extract):
            return its.fields or {}
    return {}
