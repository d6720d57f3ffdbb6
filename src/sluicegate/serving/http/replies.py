"""What callers are told of runs, as messages of the HTTP API, whichever door they came by."""

import re
from datetime import datetime

from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.graphs.runtime.waiting.approvals import Waiting
from sluicegate.serving.http.messages import Approval, Asked, Awaited, Cited, Edited, Run

__all__ = ["answered", "asked", "begun"]

_PASSED = re.compile(r"[^\s;]+: SG\d{3}")


def answered(outcome: Outcome, *, status: str = "", reason: str = "", edited: bool = False) -> Run:
    """What a caller is told of an outcome; `status` and `reason` where the outcome does not know better, and what an
    edit of arguments changed where they were `edited`."""
    summary, waiting = outcome.summary, outcome.waiting
    ended = summary.status in ("answered", "refused")
    status = status or summary.status
    titles = {document["id"]: document["title"] for document in outcome.state.get("documents", [])}
    refusal = summary.sent if ended and status == "refused" else ""
    return Run(
        run=summary.run,
        status=status,  # pyright: ignore[reportArgumentType]
        path=summary.path or "",
        answer=summary.sent if summary.status == "answered" and not outcome.withheld else "",
        reason=reason or (waiting["reason"] if waiting else outcome.withheld or refusal),
        citations=[
            Cited(
                marker=citation["marker"],
                document=citation["document"],
                version=citation["version"],
                title=titles.get(citation["document"], ""),
            )
            for citation in (summary.citations if ended and not outcome.withheld else [])
        ],
        intent=summary.intent,
        risk=summary.risk,
        confidence=summary.confidence,
        threshold=summary.threshold,
        answer_confidence=summary.answer_confidence if ended else None,
        model=(summary.model or "") if ended else "",
        # without the addresses that the full reason names
        fallback="; ".join(_PASSED.findall(summary.fallback or "")) if ended else "",
        prompt_tokens=summary.prompt_tokens,
        completion_tokens=summary.completion_tokens,
        usd=summary.usd,
        ms=round(outcome.ms, 1),
        workflow=summary.workflow,
        version=summary.version,
        digest=summary.digest,
        approval=Awaited(
            id=outcome.run, approvers=waiting["approvers"], deadline=datetime.fromisoformat(waiting["deadline"])
        )
        if waiting and waiting["waits_for"] == "approval"
        else None,
        question=Asked(text=waiting["reason"], deadline=datetime.fromisoformat(waiting["deadline"]))
        if waiting and waiting["waits_for"] == "answer"
        else None,
        edited=Edited(**edit) if edited and (edit := outcome.edited) else None,
    )


def begun(run: str, *, workflow: str, version: str, digest: str, failed: bool = False) -> Run:
    """What a caller is told of a run that has no step behind it."""
    return Run(
        run=run,
        status="failed" if failed else "running",
        path="",
        answer="",
        reason="",
        citations=[],
        intent=None,
        risk=None,
        confidence=None,
        threshold=None,
        answer_confidence=None,
        model="",
        fallback="",
        prompt_tokens=0,
        completion_tokens=0,
        usd=0.0,
        ms=0.0,
        workflow=workflow,
        version=version,
        digest=digest,
        approval=None,
    )


def asked(waiting: Waiting) -> Approval:
    """What is put to a person."""
    return Approval(
        id=waiting["run"],
        workflow=waiting["workflow"],
        intent=waiting["intent"],
        principal=waiting["principal"],
        request=waiting["request"],
        reason=waiting["reason"],
        withheld=waiting["withheld"],
        draft=waiting["draft"],
        proposal=waiting["proposal"],
        edits=waiting["edits"],
        sources=[{key: document[key] for key in ("id", "version", "title")} for document in waiting["documents"]],
        checks=[{key: check[key] for key in ("guard", "passed", "reason")} for check in waiting["checks"]],
        approvers=waiting["approvers"],
        deadline=datetime.fromisoformat(waiting["deadline"]),
    )
