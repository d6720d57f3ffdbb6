"""What observations say, read from the state: a node's update, a run's outcome and its scores.

The names are short and ours; `sluicegate.observe.exporters.conventions` gives them those that OpenTelemetry and
Langfuse know.
"""

from collections.abc import Mapping
from typing import Any, cast

from sluicegate.run_summary import RunSummary, waited_s
from sluicegate.state import Approval, Checks, State

__all__ = ["node_attributes", "run_outcome", "run_scores"]


def node_attributes(update: Mapping[str, Any]) -> dict[str, Any]:
    """What a node's observation says of the state it changed; lists of documents become their references."""
    state = cast("State", update)
    found = {key: value for key, value in update.items() if key not in _RETOLD}
    if "intent" in state:
        found["confidence"] = state["intent"]["confidence"]
    threshold = state.get("route", {}).get("threshold")
    if threshold is not None:
        found["threshold"] = threshold
    if "tags" in state:
        # `tags` are a run's own, which its workflow files it under
        tags = state["tags"]
        found |= {"tagged": tags["found"], "tag_scores": tags["scores"], "tag_limits": tags["limits"]}
    if "documents" in state:
        found["documents"] = [
            {"id": document["id"], "version": document["version"], "score": document["score"]}
            for document in state["documents"]
        ]
    if "answer" in state:
        answer = state["answer"]
        found["output"] = answer["text"]
        found["confidence"] = answer["confidence"]
        if "answerability" in answer:  # a checkpoint of an earlier release has none
            found["answerability"] = answer["answerability"]
        found["citations"] = [f"{citation['document']}@{citation['version']}" for citation in answer["citations"]]
        found |= {key: answer[key] for key in ("model", "prompt", "prompt_hash", "finish") if answer.get(key)}
        if "features" in answer:
            found["features"] = answer["features"]
        if answer.get("fallback"):
            found["fallback"] = answer["fallback"]
    if "cache" in state:
        cache = state["cache"]
        found["cache"] = {key: value for key, value in cache.items() if key != "question"}
        if "question" in cache:
            found["question"] = cache["question"]
    if "checks" in state:
        found |= _checks(state["checks"])
    if "approval" in state:
        found |= _approval(state["approval"])
    if "tool_calls" in state:
        found["tool_calls"] = [{key: call[key] for key in ("tool", "key", "status")} for call in state["tool_calls"]]
    return found


_RETOLD = frozenset({"answer", "approval", "cache", "checks", "documents", "run", "tags", "tool_calls", "trail"})
"""Keys of the state that `node_attributes` says in its own words."""


def run_outcome(summary: RunSummary, all_llm_usd: float | None) -> dict[str, Any]:
    """The columns of a run's row that its last state decides; what it does not know yet is left as it is."""
    found = {name: getattr(summary, name) for name in _COLUMNS}
    if summary.status == "waiting":
        del found["path"]  # settled at the end
    if summary.asked_models:
        found |= {name: getattr(summary, name) for name in _SPENDING} | {"all_llm_usd": all_llm_usd}
    return {name: value for name, value in found.items() if value is not None}


_COLUMNS = (
    "status", "intent", "confidence", "risk", "classified_by", "threshold", "path", "artifact", "answer", "model",
    "prompt", "approval", "waited_s",
)  # fmt: skip
_SPENDING = ("usd", "prompt_tokens", "completion_tokens", "slm_calls", "llm_calls")


def run_scores(summary: RunSummary, state: State, segment_ms: float) -> list[tuple[str, float | bool | str, str]]:
    """The scores of a finished run: name, value and comment, numeric, boolean and categorical."""
    scores: list[tuple[str, float | bool | str, str]] = []
    if summary.confidence is not None:
        scores.append(("route_confidence", summary.confidence, f"intent {summary.intent}"))
    if summary.path:
        scores.append(("path", summary.path, ""))
    if summary.answer_confidence is not None:
        scores.append(("answer_confidence", summary.answer_confidence, summary.model or ""))
    if checks := state.get("checks"):
        scores.extend((f"check_{result['guard']}", result["passed"], result["reason"]) for result in checks["results"])
    if policy := state.get("policy"):
        scores.append(("policy_pass", policy["verdict"] == "allow", ", ".join(policy["rules"])))
    if approval := state.get("approval"):
        scores.append(("approval", approval["verdict"], approval["reason"]))
    if summary.asked_models:
        scores.append(("cost_usd", summary.usd, ""))
    # the nodes' own times, so that days of waiting for a person do not count
    scores.append(("latency_ms", round(max(segment_ms, summary.nodes_ms), 1), "without waiting for people"))
    return scores


def _checks(checks: Checks) -> dict[str, Any]:
    verdicts = {result["guard"]: result["passed"] for result in checks["results"]}
    reasons = {result["guard"]: result["reason"] for result in checks["results"] if not result["passed"]}
    return {"verdicts": verdicts, "failures": reasons, "action": checks["action"]}


def _approval(approval: Approval) -> dict[str, Any]:
    return {
        "approval": approval["verdict"],
        "decided_by": approval["by"],
        "approval_reason": approval["reason"],
        "waited_s": waited_s(approval),
    }
