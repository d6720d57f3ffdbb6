"""A form made of JSON Schema: which control an argument has, and what comes back out of it."""

from typing import Any

import pytest

from sluicegate.serving.evidence import EditableCall
from sluicegate.serving.http.console.argument_form import argument_fields, read_arguments
from sluicegate.serving.http.console.differences import changed_arguments, text_difference

SCHEMA: dict[str, Any] = {
    "type": "object",
    "$defs": {"Team": {"enum": ["it", "hr"]}},
    "properties": {
        "title": {"type": "string", "minLength": 3, "maxLength": 20, "description": "what is wanted."},
        "details": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        "count": {"type": "integer", "minimum": 1, "maximum": 5, "default": 2},
        "price": {"type": "number", "exclusiveMinimum": 0, "multipleOf": 0.5},
        "team": {"$ref": "#/$defs/Team"},
        "urgent": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        "code": {"type": "string", "pattern": "^[A-Z]+$", "maxLength": 9},
    },
    "required": ["title"],
    "additionalProperties": False,
}
NOW: dict[str, Any] = {"title": "A printer", "count": 3, "tags": ["a"]}
CALL = EditableCall("order", (SCHEMA,), NOW)


def typed(**fields: str) -> dict[str, str]:
    """What a browser sends when nothing else is changed."""
    shown = {field.id: field.value for field in argument_fields(CALL)}
    return shown | {f"argument.{name}": text for name, text in fields.items()}


def test_each_argument_has_a_control() -> None:
    fields = {field.name: field for field in argument_fields(CALL)}
    assert {name: (field.control, field.value, field.required) for name, field in fields.items()} == {
        "title": ("line", "A printer", True), "details": ("text", "", False), "count": ("number", "3", False),
        "price": ("number", "", False), "team": ("choice", "", False), "urgent": ("choice", "", False),
        "tags": ("json", '["a"]', False), "code": ("line", "", False),
    }  # fmt: skip
    assert fields["team"].choices == (('"it"', "it"), ('"hr"', "hr"))
    assert fields["urgent"].choices == (("true", "yes"), ("false", "no"))
    assert fields["title"].hint == "What is wanted. At least 3 characters, at most 20 characters"
    assert fields["count"].hint == "At least 1, at most 5. By default 2"


@pytest.mark.parametrize(
    ("fields", "changes"),
    [
        ({"title": "Two printers"}, {"title": "Two printers"}),
        ({"count": ""}, {"count": None}),
        ({"price": "1.5", "urgent": "false"}, {"price": 1.5, "urgent": False}),
        ({"team": '"hr"', "details": "One.\r\nTwo."}, {"team": "hr", "details": "One.\nTwo."}),
        ({"tags": "[]"}, {"tags": []}),
    ],
)
def test_what_was_changed_comes_back_with_its_type(fields: dict[str, str], changes: dict[str, Any]) -> None:
    assert read_arguments(CALL, typed(**fields)) == (changes, {})


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({}, {"": "Nothing was changed. To call it as it is, approve it"}),
        ({"title": ""}, {"title": "is required"}),
        ({"title": "No"}, {"title": "must have at least 3 characters"}),
        ({"count": "many"}, {"count": "must be a number"}),
        ({"count": "2.5"}, {"count": "must be a whole number"}),
        ({"count": "9", "price": "-1"}, {"count": "must be at most 5", "price": "must be more than 0"}),
        ({"price": "1e400"}, {"price": "must be a number"}),
        ({"price": "NaN"}, {"price": "must be a number"}),
        ({"tags": "[Infinity]"}, {"tags": "must be JSON"}),
        ({"count": "9" * 5000}, {"count": "must be a number"}),
        ({"team": '"sales"'}, {"team": "must be one of it, hr"}),
        ({"tags": "a, b"}, {"tags": "must be JSON"}),
        ({"tags": '["a", 1]'}, {"tags": "1 must be a text"}),
        ({"tags": '["a", "b", "c"]'}, {"tags": "must have at most 2 items"}),
        ({"code": "abc"}, {"code": "must match ^[A-Z]+$"}),
    ],
)
def test_what_does_not_fit_is_said_beside_its_field(fields: dict[str, str], wrong: dict[str, str]) -> None:
    assert read_arguments(CALL, typed(**fields))[1] == wrong


def test_the_schema_of_the_extraction_counts_too() -> None:
    own = {"type": "object", "properties": {"title": {"type": "string", "enum": ["A printer", "A desk"]}}}
    call = EditableCall("order", (SCHEMA, own), {**NOW, "colour": "red"})
    (title, *_), odd = argument_fields(call), argument_fields(call)[-1]
    assert (title.control, title.required, odd.name, odd.control) == ("choice", True, "colour", "json")
    shown = {field.id: field.value for field in argument_fields(call)}
    assert read_arguments(call, {**shown, "argument.title": '"A door"'})[1] == {
        "title": "must be one of A printer, A desk",
        "colour": "is not an argument of this tool",
    }
    assert read_arguments(call, {**shown, "argument.title": '"A desk"', "argument.colour": ""}) == (
        {"title": "A desk", "colour": None},
        {},
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "New."), ("Old.", ""), ("The same.", "The same."), ("Ask your lead, today.", "Ask your manager, today!"),
        ("a " * 3_000, "a " * 2_999 + "b "), ("a\n" * 9_000, "b\n" * 9_000), ("Ünïcode – ja", "Ünïcode, nein"),
    ],
)  # fmt: skip
def test_a_difference_has_both_texts_whole(before: str, after: str) -> None:
    pieces = text_difference(before, after)
    assert "".join(piece.text for piece in pieces if piece.what != "in") == before
    assert "".join(piece.text for piece in pieces if piece.what != "out") == after
    assert len(pieces) < 20


def test_changed_arguments_are_named_with_both_values() -> None:
    assert changed_arguments({"a": 1, "b": [2]}, {"b": [3], "c": ""}) == [
        ("a", 1, None),
        ("b", [2], [3]),
        ("c", None, ""),
    ]
