import warnings

import pytest
from pydantic import ValidationError

from sluicegate.policies.guards.config import (
    GuardConfig,
    LengthSettings,
    PiiSettings,
    SchemaSettings,
    SlmReviewSettings,
)
from sluicegate.policies.guards.pii.recognizers import PATTERN_ENTITIES
from sluicegate.policies.guards.registry import guards


def test_every_built_in_guard_has_settings_under_its_name() -> None:
    config = GuardConfig()
    for name, kind in guards().items():
        assert type(config.settings(name, kind.settings)) is kind.settings


def test_settings_are_read_by_name() -> None:
    config = GuardConfig.model_validate(
        {"length": {"max_chars": 5}, "schema": {"schema": {"type": "object"}}, "slm-review": {"timeout_ms": 7}}
    )
    assert config.settings("length", LengthSettings).model_dump()["max_chars"] == 5
    assert config.settings("schema", SchemaSettings).model_dump()["schema_"] == {"type": "object"}
    assert config.settings("slm-review", SlmReviewSettings).timeout_ms == 7


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pii": {"entity": ["email"]}}, "Extra inputs"),
        ({"pii": {"entities": ["mail"]}}, "Input should be"),
        ({"pii": {"entities": ["person"]}}, "a spaCy model such as"),
        ({"tone": {"action": "redact"}}, "finds no spans to redact"),
        ({"tone": {"action": "pass"}}, "Input should be"),
        ({"secret": {}}, "did you mean 'secrets'"),
        ({"length": {"timeout_ms": 0}}, "greater than or equal to 1"),
    ],
)
def test_mistakes(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        GuardConfig.model_validate(given)


def test_the_json_schema_names_guards_as_a_workflow_does() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schema = GuardConfig.model_json_schema()
    assert {"pii", "slm-review", "schema"} <= set(schema["properties"])
    assert all(field.get("description") for field in schema["properties"].values())


def test_every_pattern_type_can_be_asked_for() -> None:
    assert PiiSettings(entities=PATTERN_ENTITIES).entities == PATTERN_ENTITIES  # pyright: ignore[reportArgumentType]
