"""Attributes of observations from the state: a node's update, a run's outcome and its scores."""

from collections.abc import Mapping
from typing import Any

from sluicegate.observe.tracing.describers import describe
from sluicegate.run_summary import RunSummary
from sluicegate.state import State

__all__ = ["node_attributes", "run_outcome", "run_scores"]


def node_attributes(update: Mapping[str, Any]) -> dict[str, Any]:
    """What a node's observation says of the state it changed; lists of documents become their references."""
    attributes: dict[str, Any] = {}
    for described in describe(update).values():
        attributes |= described.attributes
    return attributes


def run_outcome(summary: RunSummary, all_llm_usd: float | None) -> dict[str, Any]:
    """The columns of a run's row that its last state decides; what it does not know yet is left as it is."""
    found = {name: getattr(summary, name) for name in _COLUMNS}
    if summary.status == "waiting":
        del found["path"]  # settled at the end
    if summary.asked_models:
        found |= {name: getattr(summary, name) for name in _SPENDING} | {"all_llm_usd": all_llm_usd}
    return {name: value for name, value in found.items() if value is not None}


_COLUMNS = (
    "status", "intent", "confidence", "risk", "classified_by", "threshold", "needs_large", "path", "artifact",
    "answer", "model", "prompt", "approval", "waited_s",
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
