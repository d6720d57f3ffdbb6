"""One reading of a run's state, at its start, while it waits, and at its end."""

from typing import Any, cast

import pytest

from sluicegate.observe.tracing.span_attributes import run_outcome
from sluicegate.run_summary import RunSummary, compared
from sluicegate.state import State


def state(**more: Any) -> State:
    run = {"id": "r1", "workflow": "desk", "version": "3", "digest": "d", "status": "running"}
    return cast("State", {"run": run, "request": {"text": "How?"}, "trail": [], **more})


def entry(node: str, kind: str = "classify") -> dict[str, Any]:
    return {"node": node, "kind": kind, "ms": 1.5}


DRAFT = {
    "text": "Like this [1].", "confidence": 0.7, "citations": [{"marker": "[1]", "document": "kb", "version": "2"}],
    "model": "fake:slm", "fallback": "", "prompt": "answer@2", "prompt_hash": "abc",
}  # fmt: skip
SPENT = {"usd": 0.5, "prompt_tokens": 3, "completion_tokens": 4, "slm_calls": 1, "llm_calls": 0, "stopped_by": ""}


def test_what_is_not_known_yet_is_none_and_what_was_not_spent_is_nothing() -> None:
    found = RunSummary.of(state())
    assert (found.run, found.status, found.request, found.way) == ("r1", "running", "How?", [])
    assert (found.path, found.intent, found.confidence, found.answer, found.failed_checks) == (None,) * 5
    assert (found.sent, found.usd, found.tokens, found.asked_models) == ("", 0.0, 0, False)
    assert run_outcome(found, 0.1) == {"status": "running"}, "columns that a first segment wrote stay"


def test_a_draft_that_waits_is_not_sent() -> None:
    found = RunSummary.of(state(answer=DRAFT, spend=SPENT), status="waiting")
    assert (found.status, found.path) == ("waiting", "human")
    assert (found.answer, found.sent) == ("Like this [1].", "")
    assert "path" not in run_outcome(found, None)
    assert run_outcome(found, None)["usd"] == 0.5


def test_at_the_end_it_has_the_way_and_how_long_a_person_took() -> None:
    approval = {
        "verdict": "approve",
        "asked_at": "2026-01-01T10:00:00+00:00",
        "decided_at": "2026-01-01T10:01:30+00:00",
    }
    trail = [entry("classify"), entry("classify", "edit"), entry("respond", "respond")]
    ended = {"run": {**state()["run"], "status": "answered"}, "route": {"path": "rag-slm", "threshold": 0.4}}
    found = RunSummary.of(state(answer=DRAFT, spend=SPENT, approval=approval, trail=trail) | ended)  # type: ignore[operator]
    assert found.way == ["classify", "respond"], "an edit is no visit"
    assert (found.path, found.sent, found.tokens, found.nodes_ms) == ("rag-slm", "Like this [1].", 7, 4.5)
    assert (found.approval, found.waited_s) == ("approve", 90.0)
    columns = run_outcome(found, 0.02)
    assert (columns["path"], columns["threshold"], columns["waited_s"]) == ("rag-slm", 0.4, 90.0)
    assert (columns["all_llm_usd"], columns["model"]) == (0.02, "fake:slm")


@pytest.mark.parametrize("asked_at", ["", "yesterday"])
def test_a_time_that_cannot_be_read_is_no_time(asked_at: str) -> None:
    approval = {"verdict": "reject", "asked_at": asked_at, "decided_at": "2026-01-01T10:00:00+00:00"}
    assert RunSummary.of(state(approval=approval)).waited_s is None


def test_a_confidence_is_compared_in_words_where_nothing_is_accepted() -> None:
    assert compared(0.987, 0.9) == "0.99 ≥ 0.90"
    assert compared(0.87, 0.9) == "0.87 < 0.90"
    assert compared(0.987, 2.0) == "0.99, not accepted (no threshold)"
