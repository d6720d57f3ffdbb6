"""Conditions: what they read, what they are worth on a state, and on partial facts."""

from collections.abc import Mapping
from typing import Any

import pytest

from sluicegate.errors import ConfigError, Place
from sluicegate.graphs.conditions.conditions import Condition, Conditions
from sluicegate.graphs.conditions.fields import UNSET, fields

STATE: dict[str, Any] = {
    "request": {"text": "hi", "channel": "web"},
    "principal": {"id": "ana", "roles": ["employee"]},
    "intent": {"label": "reset", "confidence": 0.7, "risk": "low", "task": "short-answer", "out_of_scope": False},
    "route": {"threshold": 0.8},
    "documents": [{"id": "a", "score": 0.4}, {"id": "b", "score": 0.9}],
    "tool_calls": [{"tool": "find", "status": "failed"}, {"tool": "make", "status": "done"}],
    "extraction": {"fields": {"system": "vpn"}, "complete": True},
}


def _compile(text: str) -> Condition:
    return Conditions(["reset", "other"], ["make"], nodes=["synthesize"]).compile(
        text, lambda offset: Place("c", 1, offset + 1)
    )


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("intent.confidence < router.threshold", True),
        ("intent.label in ['reset', 'other'] && !intent.out_of_scope", True),
        ("retrieval.count == 2 && retrieval.best_score > 0.8", True),
        ("documents.exists(d, d.score > 0.95)", False),
        ("tool.ok && tool.name == 'make'", True),
        ("tool.status == 'failed'", False),
        ("'employee' in principal.roles", True),
        ("extraction.fields.system == 'vpn'", True),
        ("extraction.fields.device == 'phone'", False),
        ("has(extraction.fields.system)", True),
        ("has(extraction.fields.device)", False),
        ("spend.usd == 0.0 && spend.llm_calls == 0", True),
        ("intent.risk == 'high' ? false : request.channel == 'web'", True),
        # never written: neither it nor its opposite holds
        ("checks.failed", False),
        ("!checks.failed", False),
        ("checks.failed || intent.risk == 'low'", True),
        ("answer.confidence < 0.5", False),
        ("answer.confidence >= 0.5", False),
    ],
)
def test_a_condition_holds_only_when_it_is_certain(text: str, holds: bool) -> None:
    assert _compile(text).evaluate(STATE) is holds


def test_nothing_retrieved_and_nothing_spent_are_known_from_the_start() -> None:
    assert _compile("retrieval.count == 0 && retrieval.best_score == 0.0 && spend.usd == 0.0").evaluate({})


def test_values_name_every_field_that_was_read() -> None:
    condition = _compile("intent.confidence < router.threshold || checks.failed")
    assert condition.fields == {"intent.confidence", "router.threshold", "checks.failed"}
    expected = {"intent.confidence": 0.7, "router.threshold": 0.8, "checks.failed": None}
    assert condition.values(STATE) == expected


@pytest.mark.parametrize(
    ("text", "facts", "worth"),
    [
        ("checks.failed && tool.ok", {}, None),
        ("checks.failed && tool.ok", {"checks.failed": False}, False),
        ("tool.ok && checks.failed", {"checks.failed": False}, False),
        ("tool.ok && checks.failed", {"checks.failed": True}, None),
        ("tool.ok || checks.failed", {"checks.failed": True}, True),
        ("tool.ok || checks.failed", {"checks.failed": False}, None),
        ("!tool.ok", {}, None),
        ("!tool.ok", {"tool.ok": False}, True),
        ("tool.ok ? true : true", {}, None),
        ("checks.failed ? tool.ok : true", {"checks.failed": False}, True),
        ("intent.risk in ['low', 'high']", {"intent.risk": "medium"}, False),
        ("intent.risk in ['low', 'high']", {}, None),
        ("intent.confidence < router.threshold", {"intent.confidence": 0.1}, None),
        ("intent.risk == 'low' && intent.confidence < 0.5", {"intent.risk": "high"}, False),
        ("1 / 0 == 1", {}, None),
        ("checks.failed", {"checks.failed": UNSET}, None),
    ],
)
def test_unknown_fields_are_absorbed_where_they_make_no_difference(
    text: str, facts: dict[str, object], worth: bool | None
) -> None:
    assert _compile(text).known(facts) is worth


@pytest.mark.parametrize(
    ("text", "code", "column", "suggestion"),
    [
        ("intent.confidance < 0.5", "SG122", 1, "intent.confidence"),
        ("'ä' == intent.labl", "SG122", 8, "intent.label"),
        ("intent.label == 'rest'", "SG123", 17, "reset"),
        ("'lo' != intent.risk", "SG123", 1, "low"),
        ("intent.risk in ['low', 'hihg']", "SG123", 24, "high"),
        ("intent.confidence < 1", "SG121", 19, None),
        ("intent.confidence", "SG121", 1, None),
        ("intent.label = 'a'", "SG120", 14, None),
        ("", "SG120", 1, None),
        ("(" * 100, "SG120", 1, None),
        ("size(intent.labels) > 1", "SG122", 6, "intent.label"),
        ("checks.action == 'humen'", "SG123", 18, "human"),
        ("intent.by == 'cascad'", "SG123", 14, "cascade"),
        ("answer.by == 'synthesise'", "SG123", 14, "synthesize"),
        # texts of a list have no order: 'high' < 'low'
        ("intent.risk >= 'medium'", "SG121", 13, None),
        ("'internal' < principal.clearance", "SG121", 12, None),
        ("['low'].exists(each, each < intent.risk)", "SG121", 27, None),
        # the library takes has() away from a declared field, and would answer with its value
        ("has(checks.failed)", "SG121", 4, None),
        ("tool.ok || !has (checks.failed)", "SG121", 17, None),
    ],
)
def test_a_mistake_has_a_code_a_column_and_a_suggestion(
    text: str, code: str, column: int, suggestion: str | None
) -> None:
    with pytest.raises(ConfigError) as caught:
        _compile(text)
    (problem,) = caught.value.problems
    assert problem.place is not None
    assert (problem.code, problem.place.column, problem.suggestion) == (code, column, suggestion)


def test_every_mistake_of_a_condition_is_reported() -> None:
    with pytest.raises(ConfigError) as caught:
        _compile("intent.labl == 'a' && router.treshold > 0.1")
    assert [problem.suggestion for problem in caught.value.problems] == ["intent.label", "router.threshold"]


def test_fields_follow_the_state() -> None:
    known = fields()
    assert known["policy.verdict"].choices == ("allow", "deny")
    assert known["intent.confidence"].type == "double"
    assert known["run.visits"].type == "map"
    assert known["answer.model"].meaning.startswith("The model that really answered")
    assert "trail" not in known
    assert "route.threshold" not in known


def test_an_evaluation_reads_the_fields_it_names_and_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    condition = _compile("intent.confidence < router.threshold && intent.label == 'reset'")
    monkeypatch.setattr("sluicegate.graphs.conditions.conditions._environment", None)
    read: list[str] = []

    class Watched(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            read.append(key)
            return super().__getitem__(key)

        def get(self, key: str, default: Any = None) -> Any:
            read.append(key)
            return super().get(key, default)

    state: Mapping[str, Any] = Watched(STATE)
    assert condition.evaluate(state)
    assert sorted(read) == ["intent", "intent", "route"]
