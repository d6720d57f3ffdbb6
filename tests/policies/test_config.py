"""Budgets, cache and policy settings: strict, with durations people can read."""

from typing import Any

import pytest
from pydantic import ValidationError

from sluicegate.policies.config import BudgetConfig, CacheConfig, LimitsConfig, PolicyConfig, seconds


@pytest.mark.parametrize(
    ("text", "expected"), [("90s", 90), ("15m", 900), ("24h", 86400), ("7d", 604800), ("2w", 1209600), ("1.5h", 5400)]
)
def test_durations(text: str, expected: float) -> None:
    assert seconds(text) == expected
    assert CacheConfig.model_validate({"ttl": text}).ttl == expected


@pytest.mark.parametrize("value", ["", "24", "24 hours", "-1h", "0s", 0, -5, None])
def test_what_is_not_a_duration(value: Any) -> None:
    with pytest.raises(ValidationError):
        CacheConfig.model_validate({"ttl": value})


@pytest.mark.parametrize(
    ("model", "value"),
    [
        (BudgetConfig, {"per_run_usd": -1}),
        (BudgetConfig, {"per_run_eur": 1}),
        (BudgetConfig, {"per_intent_day_usd": {"a": -1}}),
        (BudgetConfig, {"per_run_tokens": 1.5}),
        (BudgetConfig, {"lease_s": 0}),
        (CacheConfig, {"answers": "fuzzy"}),
        (CacheConfig, {"answers": "semantic", "similarity": 0.2}),
        (CacheConfig, {"max_mb": 0}),
        (PolicyConfig, {"files": [""]}),
    ],
)
def test_what_is_refused(model: Any, value: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        model.model_validate(value)


def test_without_settings_nothing_is_capped_or_cached() -> None:
    assert not BudgetConfig().caps
    assert CacheConfig().answers == "off"


def test_who_may_ask_how_often() -> None:
    limits = LimitsConfig(principals={"default": "1 per hour", "lead": "2 per hour", "bot": "9 per hour"})
    assert [getattr(limits.of_person(roles), "text", None) for roles in ((), ("x",), ("lead",), ("bot", "lead"))] == [
        "1 per hour", "1 per hour", "2 per hour", "9 per hour",
    ]  # fmt: skip
    assert limits.of_person(["default"]) == limits.of_person([]), "a role of this name is nothing special"
    assert LimitsConfig(principals={"lead": "2 per hour"}).of_person(["clerk"]) is None
    assert LimitsConfig().of_person(["clerk"]) is None


def test_whose_requests_come_first() -> None:
    limits = LimitsConfig(priorities={"default": "normal", "agent": "low", "operator": "high"})
    known = ((), ("x",), ("agent",), ("agent", "operator"), ("default",))
    assert [limits.highest_priority(roles) for roles in known] == ["normal", "normal", "low", "high", "normal"]
    assert LimitsConfig(priorities={"agent": "low"}).highest_priority(["clerk"]) == "normal"
    assert LimitsConfig(priorities={"default": "low"}).highest_priority(["clerk"]) == "low"
