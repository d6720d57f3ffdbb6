"""The summary of a run: the one reading of its state for everything that shows, stores or compares runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from sluicegate.state import Approval, Citation, Path, Risk, State

__all__ = ["RunSummary", "Status", "compared", "waited_s"]

Status = Literal["running", "waiting", "answered", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A value that a run does not have (yet) is None; an empty sum is 0."""

    run: str
    workflow: str
    version: str
    digest: str
    status: Status
    request: str
    path: Path | None
    """``human`` also while it waits for one."""
    way: list[str]
    """The nodes it visited, in order."""
    intent: str | None
    risk: Risk | None
    confidence: float | None
    classified_by: str | None
    threshold: float | None
    needs_large: float | None
    """The probability that it needed the large model, where the workflow has a fitted escalation."""
    artifact: str | None
    documents: list[str]
    """Each as ``id@version``."""
    answer: str | None
    """While it waits, the draft, which must not be sent to anybody."""
    answer_confidence: float | None
    citations: list[Citation]
    model: str | None
    fallback: str | None
    prompt: str | None
    prompt_hash: str | None
    failed_checks: list[str] | None
    approval: str | None
    waited_s: float | None
    tools: list[str]
    """Each as ``tool: status``."""
    asked_models: bool
    """It called one, or was stopped from doing so."""
    usd: float
    estimated_usd: float
    prompt_tokens: int
    completion_tokens: int
    slm_calls: int
    llm_calls: int
    stopped_by: str
    nodes_ms: float
    """Working time, without waiting for people."""

    @classmethod
    def of(cls, state: State, *, status: Status | None = None) -> "RunSummary":
        """`status` where the state does not know better: a run that waits is not over, and says ``running``."""
        intent, answer, spend, route = (_part(state, name) for name in ("intent", "answer", "spend", "route"))
        run, approval, trail = state["run"], state.get("approval"), state.get("trail", [])
        status = status or run["status"]
        return cls(
            run=run["id"],
            workflow=run["workflow"],
            version=run["version"],
            digest=run["digest"],
            status=status,
            request=state["request"]["text"],
            path="human" if status == "waiting" else route.get("path"),
            way=[entry["node"] for entry in trail if entry["kind"] != "edit"],
            intent=intent.get("label"),
            risk=intent.get("risk"),
            confidence=intent.get("confidence"),
            classified_by=intent.get("by"),
            threshold=route.get("threshold"),
            needs_large=route.get("needs_large"),
            artifact=route.get("artifact"),
            documents=[f"{document['id']}@{document['version']}" for document in state.get("documents", [])],
            answer=answer.get("text"),
            answer_confidence=answer.get("confidence"),
            citations=answer.get("citations", []),
            model=answer.get("model"),
            fallback=answer.get("fallback"),
            prompt=answer.get("prompt"),
            prompt_hash=answer.get("prompt_hash"),
            failed_checks=_part(state, "checks").get("failures"),
            approval=approval["verdict"] if approval else None,
            waited_s=waited_s(approval) if approval else None,
            tools=[f"{call['tool']}: {call['status']}" for call in state.get("tool_calls", [])],
            asked_models=bool(spend),
            usd=spend.get("usd", 0.0),
            estimated_usd=spend.get("estimated_usd", 0.0),
            prompt_tokens=spend.get("prompt_tokens", 0),
            completion_tokens=spend.get("completion_tokens", 0),
            slm_calls=spend.get("slm_calls", 0),
            llm_calls=spend.get("llm_calls", 0),
            stopped_by=spend.get("stopped_by", ""),
            nodes_ms=sum(entry["ms"] for entry in trail),
        )

    @property
    def sent(self) -> str:
        """What the requester gets: the answer of a run that has ended; one that waits, or failed, sends nothing."""
        return self.answer or "" if self.status in ("answered", "refused") else ""

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


def compared(confidence: float, threshold: float) -> str:
    """A confidence against its threshold, as people read it; one above 1 stands for "nothing is accepted"."""
    if threshold > 1:
        return f"{confidence:.2f}, not accepted (no threshold)"
    return f"{confidence:.2f} {'≥' if confidence >= threshold else '<'} {threshold:.2f}"


def waited_s(approval: Approval) -> float | None:
    """Seconds that a person took; None where a time cannot be read."""
    try:
        asked, decided = datetime.fromisoformat(approval["asked_at"]), datetime.fromisoformat(approval["decided_at"])
        return (decided - asked).total_seconds()
    except (ValueError, TypeError):
        return None


def _part(state: State, name: str) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", state.get(name) or {})
