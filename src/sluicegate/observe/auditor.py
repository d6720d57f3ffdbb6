"""The auditor of a running workflow: one event per step, incidents where a rule is met, and fail-closed on risk.

An event that cannot be written fails the step when the request's risk class is high or not yet known. Requests of other
classes continue, and the gap is an incident of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sluicegate.errors import CorruptError, RunError, SluicegateError
from sluicegate.observe.audit.events import Event, node_event
from sluicegate.observe.audit.log import AuditLog
from sluicegate.observe.tracing.describers import without_words
from sluicegate.services import Vault
from sluicegate.state import Branch, State

if TYPE_CHECKING:
    from sluicegate.observe.incidents import Incidents, Kind

__all__ = ["Auditor"]

_GOES_ON = frozenset({"low", "medium"})
"""Risk classes whose requests continue when an event cannot be written."""


class Auditor:
    """Writes the events of one workflow. Safe to share between runs and threads."""

    def __init__(
        self, log: AuditLog, incidents: "Incidents", *, workflow: str, version: str, digest: str, policy_set: str
    ) -> None:
        self._log = log
        self.vault: Vault = log.payloads
        """The store of placeholder values."""
        self._incidents = incidents
        self._workflow = workflow
        self._facts = {"version": version, "digest": digest}
        self._policy_set = policy_set

    def opened(self, waived: Iterable[tuple[str, str]] = ()) -> None:
        """The workflow starts; `waived` are its waived guarantees, each with its written reason.

        Raises `RunError` SG606 or SG607: a workflow whose start cannot be recorded does not start.
        """
        waivers = [{"guarantee": guarantee, "reason": reason} for guarantee, reason in waived]
        facts = {**self._facts, "policy_set": self._policy_set, "waived": waivers}
        self._log.append("workflow.opened", workflow=self._workflow, facts=facts)

    def close(self) -> None:
        self._log.close()
        self._incidents.disconnect()

    async def step(
        self,
        state: State,
        update: Mapping[str, Any],
        *,
        node: str,
        kind: str,
        visit: int,
        ms: float,
        branch: Branch | None = None,
    ) -> None:
        """One step is done; call it before its update is kept. `state` is the state after it.

        Raises `RunError` when the event of a risky request cannot be written.
        """
        event = node_event(state, update, node=node, kind=kind, visit=visit, ms=ms, policy_set=self._policy_set)
        if branch:
            values = without_words(branch["values"])
            event["facts"]["branch"] = {
                "to": branch["to"], "condition": branch["condition"], "values": values, "skipped": branch["skipped"],
            }  # fmt: skip
        await self._log.payloads.call(self._stepped, event, state, update)

    def _stepped(self, event: Event, state: State, update: Mapping[str, Any]) -> None:
        self._written(event)
        self._watch(state, update, event["run"])

    async def failed(self, state: State, error: Exception, *, node: str) -> None:
        """A step failed. Its error is recorded by code, never by its message."""
        event = node_event(state, {}, node=node, kind="", visit=0, ms=0.0, policy_set=self._policy_set)
        event["event"] = "failed"
        event["facts"]["error"] = error.code if isinstance(error, SluicegateError) else type(error).__name__
        await self._log.payloads.call(self._written, event)

    async def revealed(self, state: State, *, reader: str, placeholders: Sequence[str], rules: Sequence[str]) -> None:
        """Record who is about to see redacted values. Raises `RunError` when that fails."""
        run, intent, requester = state["run"], state.get("intent"), state["principal"]["id"]
        event: Event = {
            "event": "redaction.revealed",
            "actor": reader,
            "run": run["id"],
            "workflow": run["workflow"],
            "risk": intent["risk"] if intent else "high",
            "facts": {"placeholders": [*placeholders], "rules": [*rules], "policy_set": self._policy_set},
            "texts": {},
            "people": {"requester": requester},
        }
        await self._log.payloads.call(self._revealed, event)

    def _revealed(self, event: Event) -> None:
        try:
            self._log.append(**event)
        except RunError as error:
            what = f"access to redacted data could not be recorded, so it was denied: {error.message}"
            self.report("audit-failure", source=error.code, description=what, run=event["run"])
            raise

    def _written(self, event: Event) -> None:
        try:
            self._log.append(**event)
        except RunError as error:
            tampered = isinstance(error, CorruptError)
            self.report(
                "tampering" if tampered else "audit-failure",
                source=error.code,
                description=f"an audit event could not be written: {error.message}",
                run=event["run"],
            )
            if event["risk"] not in _GOES_ON:
                raise

    def _watch(self, state: State, update: Mapping[str, Any], run: str) -> None:
        """Count what incident rules depend on."""
        policy, spend, checks, approval = (update.get(name) for name in ("policy", "spend", "checks", "approval"))
        if policy and policy["errors"]:
            what = "a policy decision failed to evaluate and denied"
            self.report("policy-error", source=", ".join(policy["rules"]) or "policies", description=what, run=run)
        elif policy and policy["verdict"] == "deny":
            source = ", ".join(policy["rules"]) or "default deny"
            self.report("blocked", source=source, description="requests are being denied", run=run)
        if spend and spend["stopped"]:
            source = spend["stopped_by"].split(":")[0]
            kind = "blocked" if source.startswith("SG202") else "budget-stop"
            self.report(kind, source=source, description="model calls were blocked", run=run)
        for result in checks["results"] if checks else ():
            if result["reason"].startswith("SG203"):
                what = "a guard failed to run; its texts count as failed"
                self.report("guard-failure", source=result["guard"], description=what, run=run)
        if approval and approval["verdict"] in ("approve", "edit"):
            failed = state.get("checks")
            if failed and failed["failed"]:
                source = ", ".join(failed["failures"])
                self.report("override", source=source, description="a person overrode a failed check", run=run)

    def report(self, kind: "Kind", *, source: str, description: str, run: str = "") -> None:
        """Count an occurrence; what it opens is an incident by the rule of its kind."""
        try:
            self._incidents.record(kind, system=self._workflow, source=source, description=description, run=run)
        except RunError:
            # the audit event that tells the same is written, or its own failure is already being raised
            return
