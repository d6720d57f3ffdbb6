"""One call of a tool through the firewall: decided, paid, made, checked and recorded, or put to a person.

A call that needs nobody visits the nodes of the firewall's workflow here, one after the other, as a run would; each
decides its branch on the state as it is then. What it leaves is two records in the audit log, one before the call is
made and one after it, the booked price and the result under its idempotency key. A call that needs approval is a run of
that workflow.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, cast

from sluicegate.errors import NodeFailedError, SluicegateError
from sluicegate.graphs.proofs.flow import FlowNode
from sluicegate.graphs.runtime.build import decide
from sluicegate.graphs.runtime.factory import Opened
from sluicegate.graphs.runtime.intake import new_run_id
from sluicegate.graphs.runtime.run_lock import RunBusy
from sluicegate.graphs.runtime.steps.items import written
from sluicegate.models.structured import misfit
from sluicegate.nodes.attempts import attempt
from sluicegate.nodes.declared import declared
from sluicegate.nodes.kinds.call_tool import tool_question
from sluicegate.nodes.registry import kinds
from sluicegate.observe.auditor import Auditor
from sluicegate.plain_data import plain
from sluicegate.services import Services
from sluicegate.serving.firewall.config import FirewallFile
from sluicegate.serving.firewall.deliveries import Deliveries
from sluicegate.serving.firewall.workflow import call_label, tool_name
from sluicegate.state import Branch, Principal, State

__all__ = ["PERSON", "CallResult", "Calls"]

PERSON: ContextVar[Principal | None] = ContextVar("person", default=None)
"""For whom the call under way is made: each has connections of their own."""

CHANNEL = "mcp"
_NODE, _KIND = "call", "firewall"


@dataclass(frozen=True, slots=True)
class CallResult:
    """What the caller is told."""

    status: Literal["done", "refused", "failed", "waiting"]
    text: str
    structured: Mapping[str, Any] | None = None
    run: str = ""
    """The run of a call that waits, or waited, for a person."""


class Calls:
    """The calls through one firewall, whose workflow is open."""

    def __init__(self, file: FirewallFile, opened: Opened, services: Services, deliveries: Deliveries) -> None:
        """`services` are those of the workflow, without the spans of a trace: a call that nobody waits for has none."""
        self._config, self._opened, self._deliveries = file.config, opened, deliveries
        self._runner = opened.runner
        self.services = services
        self._auditor = cast("Auditor", services.audit)
        flow, settings = opened.workflow.flow, opened.workflow.settings
        self._nodes = {
            name: (node, declared(name, kind, kind.make(name, settings[name]), settings[name]))
            for name, node in flow.nodes.items()
            for kind in (kinds()[node.kind],)
        }

    async def make(
        self, person: Principal, server: str, tool: str, arguments: Mapping[str, Any], *, key: str = ""
    ) -> CallResult:
        """Make a call, or put it to whoever approves it.

        `key` is the caller's name for the action: a call that is repeated with it is not made again. Raises
        `SluicegateError` where a record cannot be written or a store fails; the call is then not made.
        """
        PERSON.set(person)
        started, label = time.perf_counter(), call_label(server, tool)
        if wrong := self._unfit(server, tool, arguments):
            return CallResult("failed", wrong)
        run = hashlib.sha256(json.dumps([self._config.firewall, person["id"], label, key]).encode()).hexdigest()[:24]
        state = self._runner.opening(
            f"Call {label}",
            person,
            channel=CHANNEL,
            run=run if key else new_run_id(),
            inputs={"call": label, "arguments": dict(arguments)},
        )
        admitted, update, branch = await self._visit("admit", state)
        if branch["to"] != "refuse":
            admitted, more, branch = await self._visit("receive", admitted)
            update |= more
            policy, attended = self._decided(admitted, tool_name(server, tool), server, tool)
            if policy:
                update["policy"] = policy
                admitted = written(admitted, {"policy": policy})
                branch = _branch("refuse", policy["reason"] or "no policy allows it")
            elif attended:
                if not self._config.approval:
                    await self._recorded(admitted, update, _branch("refuse", attended), started)
                    return CallResult("refused", _NOBODY_APPROVES)
                return await self._put_to_people(state, person, label, arguments, key)
            else:
                branch = _branch("call", "needs nobody's approval")
        await self._recorded(admitted, update, branch, started)
        if branch["to"] == "refuse":
            return CallResult("refused", await self._refusal(admitted))
        return await self._called(admitted, started)

    async def outcome(self, run: str) -> CallResult:
        """Where a call that needed approval is, taken up where a decision was made and not yet carried out."""
        try:
            outcome = await self._runner.resume(run)
        except RunBusy:
            return CallResult("waiting", f"Call {run} was decided and is being carried out; ask again.", run=run)
        if outcome.waiting:
            waits = outcome.waiting
            whose, until = waits["approvers"], waits["deadline"]
            text = f"Call {run} waits for the approval of {whose} until {until}; repeat it later."
            return CallResult("waiting", text, run=run)
        await self._deliveries.delivered(run)
        state, done = outcome.state, outcome.state["run"]["status"] == "answered"
        if not done and (calls := state.get("tool_calls")) and calls[-1]["status"] != "done":
            return CallResult("failed", _failure(calls[-1]), run=run)
        return _result(state, run=run) if done else CallResult("refused", outcome.text, run=run)

    async def owner(self, run: str) -> str:
        """Who made a call that needed approval; empty where there is no such run of this firewall."""
        state = await self._runner.call(self._runner.last_state, run)
        mine = state is not None and state["run"]["workflow"] == self._config.firewall
        return state["principal"]["id"] if state and mine else ""

    def may_call(self, person: Principal, server: str, tool: str, policies: Any) -> bool:
        """Whether `policies` may let them call a tool, with whatever arguments."""
        facts = self.services.workflow
        intent = facts.intents[call_label(server, tool)]
        known, name = facts.tools.get(tool_name(server, tool)), tool_name(server, tool)
        return policies.decide(
            person,
            "call_tool",
            {"type": "Tool", "id": name, **(known.hints if known else {})},
            {
                "intent": call_label(server, tool),
                "risk": intent.risk,
                "hour": facts.hour(self.services.now()),
            },
        ).allowed

    def changed(self, server: str, tool: str, what: str) -> None:
        """A tool is not what was pinned: an incident."""
        self._auditor.report("tool-changed", source=tool_name(server, tool), description=what)

    def _unfit(self, server: str, tool: str, arguments: Mapping[str, Any]) -> str:
        """Why these arguments are not looked at any further."""
        size, most = len(json.dumps(arguments)), self._config.arguments.max_bytes
        if size > most:
            return f"The arguments have {size:,} bytes as JSON, and {most:,} are allowed."
        wrong = misfit(dict(arguments), self.services.tools.schema(tool_name(server, tool)))
        return f"The arguments do not fit {tool}: {wrong}" if wrong else ""

    def _decided(self, state: State, name: str, server: str, tool: str) -> tuple[Any, str]:
        """The policy that denies a call, and why it needs a person; both empty for one that may be made at once."""
        arguments = state.get("extraction", {}).get("fields", {})
        asked = tool_question(name, arguments, state, self.services)
        decision = self.services.policy.decide(state["principal"], "call_tool", *asked)
        if not decision.allowed:
            rules, errors = [*decision.rules], [*decision.errors]
            return {"verdict": "deny", "rules": rules, "reason": decision.reason, "errors": errors}, ""
        if self._config.servers[server].tools[tool].approval:
            return None, "every call of it does"
        alone = self.services.policy.decide(state["principal"], "call_unattended", *asked)
        return None, "" if alone.allowed else alone.reason or "no policy allows it unattended"

    async def _visit(self, name: str, state: State) -> tuple[State, dict[str, Any], Branch]:
        """A node's work and the branch it takes, as in a step of a run."""
        node, made = self._nodes[name]
        visits = {**state["run"]["visits"], name: 1}
        entered: State = {**state, "run": {**state["run"], "visits": visits}}
        done = await attempt(name, kinds()[node.kind], made, entered, self.services, node.limits)
        if done.error:
            await self._auditor.failed(entered, done.error, node=name)
            raise done.error if isinstance(done.error, SluicegateError) else NodeFailedError(str(done.error))
        update = plain(done.update)[0]
        after = written(entered, update)
        return after, update, self._branch_of(node, after)

    def _branch_of(self, node: FlowNode, state: State) -> Branch:
        workflow = self._opened.workflow
        return decide(workflow.flow, node, workflow.conditions, state)

    async def _recorded(self, state: State, update: Mapping[str, Any], branch: Branch, started: float) -> None:
        ms = (time.perf_counter() - started) * 1000
        await self._auditor.step(state, update, node=_NODE, kind=_KIND, visit=1, ms=ms, branch=branch)

    async def _called(self, state: State, started: float) -> CallResult:
        state, update, branch = await self._visit("call", state)
        call = update["tool_calls"][-1]
        most = self._config.results.max_bytes
        if call["status"] == "done" and len(_text(state).encode("utf-8", "surrogatepass")) > most:
            branch = _branch("refuse", f"the result has more than {most:,} bytes")
        elif branch["to"] == "check":
            state, more, branch = await self._visit("check", state)
            update |= more
        await self._recorded(state, update, branch, started)
        if call["status"] == "denied":
            return CallResult("refused", call["error"])
        if call["status"] != "done":
            return CallResult("failed", _failure(call))
        if branch["to"] == "refuse":
            return CallResult("refused", _WITHHELD)
        return _result(state)

    async def _refusal(self, state: State) -> str:
        """What a refusal says: the words of the workflow's own end."""
        _, update, _ = await self._visit("refuse", state)
        return update["answer"]["text"]

    async def _put_to_people(
        self, state: State, person: Principal, label: str, arguments: Mapping[str, Any], key: str
    ) -> CallResult:
        """Begin the run of this call, or find the one that is its own already."""
        run = await self._deliveries.name(self._config.firewall, person["id"], label, arguments, key)
        if await self._runner.call(self._runner.last_state, run) is None:
            request, inputs = state["request"]["text"], state.get("inputs", {})
            await self._runner.run(request, person, channel=CHANNEL, run=run, inputs=inputs)
        return await self.outcome(run)


_NOBODY_APPROVES = "This call needs a person's approval, and nobody is named who gives it."
_WITHHELD = "The tool was called, and its result is withheld: it did not pass the firewall's checks."


def _branch(to: str, reason: str) -> Branch:
    return {"to": to, "condition": "", "values": {}, "skipped": [], "reason": reason}


def _failure(call: Mapping[str, Any]) -> str:
    return f"{call['tool']}: {call['error']}"


def _result(state: State, run: str = "") -> CallResult:
    """The checked result: what the guards have left of it."""
    text, calls = _text(state), state.get("tool_calls", [])
    value: Any = None
    if isinstance(calls[-1]["result"], dict):
        with suppress(ValueError):  # a redaction took away what was no text
            value = json.loads(text)
    return CallResult("done", text, cast("dict[str, Any]", value) if isinstance(value, dict) else None, run)


def _text(state: State) -> str:
    answer = state.get("answer")
    return answer["text"] if answer else ""
