"""What one step of a run leaves in the audit log: the fields an auditor asks for, and nobody's words.

Ids, versions, hashes, rules, verdicts and costs are facts; the request, the answer and reasons that people wrote are
texts, which the log keeps as keyed hashes. `node_event` reads them from the state after a step.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, cast

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
    if policy_set:
        facts["policy_set"] = policy_set
    for name, described in _DESCRIBED.items():
        if name in update:
            changed, words = described(update[name])
            facts[name] = changed
            texts |= words
    if "spend" in update and (spend := state.get("spend")):
        facts["spend"] = dict(spend)
    if visit == 1 and kind == "classify" and (request := state.get("request")):
        facts["request"] = {"channel": request["channel"], "size": request["size"], "cleaned": request["cleaned"]}
        texts["request"] = request["text"]
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


_Described = tuple[Any, dict[str, str]]


def _some(value: Any, names: Sequence[str]) -> dict[str, Any]:
    return {name: value[name] for name in names if name in value}


def _intent(value: Any) -> _Described:
    return _some(value, ("label", "confidence", "risk", "task", "out_of_scope", "by")), {}


def _tags(value: Any) -> _Described:
    return _some(value, ("found", "scores", "limits")), {}


def _policy(value: Any) -> _Described:
    return _some(value, ("verdict", "rules", "errors")), {}


def _route(value: Any) -> _Described:
    return dict(value), {}


def _cache(value: Any) -> _Described:
    words = {"cached_question": value["question"]} if "question" in value else {}
    return _some(value, ("hit", "key", "age_s", "kind", "similarity")), words


def _documents(value: Any) -> _Described:
    return [_some(document, ("id", "version", "hash", "span")) for document in value], {}


def _answer(value: Any) -> _Described:
    facts = _some(value, ("model", "prompt", "prompt_hash", "finish", "fallback", "confidence", "by"))
    cited = [_some(citation, ("marker", "document", "version")) for citation in value.get("citations", [])]
    return {**facts, "citations": cited}, {"answer": value.get("text", "")}


def _checks(value: Any) -> _Described:
    results = [_some(result, ("guard", "passed", "action", "ms")) for result in value.get("results", [])]
    return {**_some(value, ("failed", "action", "failures")), "results": results}, {}


def _approval(value: Any) -> _Described:
    facts = _some(value, ("verdict", "asked_at", "decided_at"))
    return facts, {"approval_reason": value.get("reason", ""), "draft": value.get("draft", "")}


def _tool_calls(value: Any) -> _Described:
    calls = cast("list[dict[str, Any]]", value)
    facts = [_some(call, ("tool", "key", "status", "ms")) for call in calls]
    return facts, {f"arguments_{number}": str(call.get("arguments", "")) for number, call in enumerate(calls)}


_DESCRIBED = {
    "intent": _intent,
    "tags": _tags,
    "policy": _policy,
    "route": _route,
    "cache": _cache,
    "documents": _documents,
    "answer": _answer,
    "checks": _checks,
    "approval": _approval,
    "tool_calls": _tool_calls,
}
