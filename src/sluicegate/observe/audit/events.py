"""The audit event of one step: the fields that auditors need, without any texts.

Ids, versions, hashes, rules, verdicts and costs are facts; the request, the answer and reasons that people wrote are
texts, which the log keeps as keyed hashes. `node_event` reads them from the state after a step.
"""

from collections.abc import Mapping
from typing import Any, TypedDict

from sluicegate.observe.tracing.describers import describe
from sluicegate.state import State

__all__ = ["Event", "node_event"]


class Event(TypedDict):
    """The arguments of `AuditLog.append`."""

    event: str
    actor: str
    run: str
    workflow: str
    risk: str
    facts: dict[str, Any]
    texts: dict[str, str]
    people: dict[str, str]


def node_event(
    state: State, update: Mapping[str, Any], *, node: str, kind: str, visit: int, ms: float, policy_set: str = ""
) -> Event:
    """The event of one step. `state` is the state after it, `update` what the node changed, `policy_set` the hash of
    the policies (`CedarEngine.digest`)."""
    run, intent = state.get("run"), state.get("intent")
    facts: dict[str, Any] = {"node": node, "kind": kind, "visit": visit, "ms": round(ms, 3)}
    texts: dict[str, str] = {}
    if run:
        facts |= {"version": run["version"], "digest": run["digest"], "status": run["status"]}
        if run["shadow"]:
            facts["shadow"] = True
        if parent := run.get("parent"):
            facts["parent"] = parent
    if policy_set:
        facts["policy_set"] = policy_set
    for name, described in describe(update).items():
        if described.facts is not None:
            facts[name] = described.facts
            texts |= described.words
    if visit == 1 and kind == "classify" and (request := state.get("request")):
        facts["request"] = {"channel": request["channel"], "size": request["size"], "cleaned": request["cleaned"]}
        texts["request"] = request["text"]
        texts |= {f"attachment {number}": one["text"] for number, one in enumerate(request.get("attachments", ()), 1)}
    principal, approval = state.get("principal"), state.get("approval")
    return {
        "event": "node",
        "actor": principal["id"] if principal else "",
        "run": run["id"] if run else "",
        "workflow": run["workflow"] if run else "",
        "risk": intent["risk"] if intent else "",
        "facts": facts,
        "texts": texts,
        "people": {"approver": approval["by"]} if "approval" in update and approval and approval["by"] else {},
    }
