"""What one step of a run leaves for an auditor."""

from typing import Any

from sluicegate.observe.audit.events import node_event
from sluicegate.observe.tracing.describers import describe
from sluicegate.state import State

STATE: State = {
    "request": {
        "id": "q1", "text": "reset my password", "channel": "api", "received_at": "", "language": "", "size": 17,
        "cleaned": [],
    },
    "principal": {"id": "alice", "roles": [], "groups": [], "clearance": "internal"},
    "run": {
        "id": "r1", "workflow": "helpdesk", "version": "3", "digest": "d" * 64, "started_at": "", "status": "running",
        "visits": {}, "shadow": False,
    },
    "intent": {
        "label": "access", "confidence": 0.9, "alternatives": [], "risk": "high", "task": "tool", "out_of_scope": False,
        "by": "head", "max_tokens": 10, "tool": "t",
    },
    "spend": {
        "usd": 0.01, "prompt_tokens": 5, "completion_tokens": 6, "slm_calls": 0, "llm_calls": 1, "stopped": False,
        "stopped_by": "",
    },
}  # fmt: skip


def event(update: dict[str, Any], kind: str = "x", **options: Any) -> Any:
    merged: Any = {**STATE, **update}
    return node_event(merged, update, node="n", kind=kind, visit=1, ms=1.23456, **options)


def test_every_event_says_who_what_where_and_how_risky() -> None:
    made = event({}, policy_set="p" * 64)
    assert (made["actor"], made["run"], made["workflow"], made["risk"]) == ("alice", "r1", "helpdesk", "high")
    assert made["facts"] == {
        "node": "n", "kind": "x", "visit": 1, "ms": 1.235, "version": "3", "digest": "d" * 64, "status": "running",
        "policy_set": "p" * 64,
    }  # fmt: skip
    assert made["texts"] == {}


def test_an_answer_names_model_prompt_and_cost_but_not_its_words() -> None:
    answer = {
        "text": "secret words", "confidence": 0.8, "model": "ollama:m", "by": "answer", "prompt": "answer@2",
        "prompt_hash": "h", "finish": "stop", "fallback": "",
        "citations": [{"marker": "[1]", "document": "kb-1", "version": "4", "span": [0, 3]}],
    }  # fmt: skip
    made = event({"answer": answer, "spend": STATE["spend"]})
    assert made["facts"]["answer"]["model"] == "ollama:m"
    assert made["facts"]["answer"]["prompt_hash"] == "h"
    assert made["facts"]["answer"]["citations"] == [{"marker": "[1]", "document": "kb-1", "version": "4"}]
    assert made["facts"]["spend"]["usd"] == 0.01
    assert made["texts"] == {"answer": "secret words"}
    assert "secret" not in str(made["facts"])


def test_tags_are_facts() -> None:
    tags = {"found": ["urgent"], "scores": {"urgent": 0.5}, "limits": {"urgent": 0.3}}
    made = event({"tags": tags}, kind="tag")
    assert (made["facts"]["tags"], made["texts"]) == (tags, {})


def test_decisions_documents_checks_and_tools_leave_ids_only() -> None:
    update = {
        "policy": {"verdict": "deny", "rules": ["own.no"], "reason": "because", "errors": []},
        "documents": [
            {"id": "kb-1", "version": "2", "title": "T", "source": "s", "score": 1.0, "span": [0, 1], "hash": "h"},
        ],
        "checks": {
            "failed": True, "action": "human", "failures": ["pii"],
            "results": [{"guard": "pii", "passed": False, "action": "human", "reason": "r", "ms": 2.0}],
        },
        "tool_calls": [
            {"tool": "t", "arguments": {"to": "eve"}, "key": "k", "status": "done", "result": 1, "error": "", "ms": 1},
        ],
    }  # fmt: skip
    made = event(update)
    assert made["facts"]["policy"] == {"verdict": "deny", "rules": ["own.no"], "errors": []}
    assert made["facts"]["documents"] == [{"id": "kb-1", "version": "2", "hash": "h", "span": [0, 1]}]
    assert made["facts"]["checks"]["results"] == [{"guard": "pii", "passed": False, "action": "human", "ms": 2.0}]
    assert made["facts"]["tool_calls"] == [{"tool": "t", "key": "k", "status": "done", "ms": 1}]
    assert "eve" in made["texts"]["arguments_0"]
    assert "eve" not in str(made["facts"])


def test_an_approval_names_the_approver_as_a_person() -> None:
    approval = {
        "verdict": "edit", "by": "bob", "reason": "typo", "asked_at": "a", "decided_at": "b", "draft": "old words",
    }  # fmt: skip
    made = event({"approval": approval})
    assert made["people"] == {"approver": "bob"}
    assert made["facts"]["approval"] == {"verdict": "edit", "asked_at": "a", "decided_at": "b"}
    assert made["texts"] == {"approval_reason": "typo", "draft": "old words"}


def test_the_first_step_records_the_request() -> None:
    made = event({}, kind="classify")
    assert made["facts"]["request"] == {"channel": "api", "size": 17, "cleaned": []}
    assert made["texts"] == {"request": "reset my password"}


def test_what_a_plug_in_keeps_is_an_attribute_and_no_fact() -> None:
    update = {"extra": {"notes": "words"}, "run": STATE["run"], "intent": STATE["intent"]}
    described = describe(update)
    assert described["extra"].attributes == {"extra": {"notes": "words"}}
    assert "run" not in described
    assert described["intent"].attributes["confidence"] == 0.9
    assert "extra" not in event(update)["facts"]


def test_the_confidence_of_an_answer_wins_over_that_of_its_intent() -> None:
    from sluicegate.observe.tracing.span_attributes import node_attributes

    answer = {"text": "a", "confidence": 0.4, "citations": [], "model": "", "prompt": "p@1"}
    attributes = node_attributes({"answer": answer, "intent": STATE["intent"]})
    assert (attributes["confidence"], attributes["prompt"], attributes["citations"]) == (0.4, "p@1", [])
    assert "model" not in attributes
