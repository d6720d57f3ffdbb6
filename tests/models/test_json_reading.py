"""JSON in what models put around it."""

import pytest

from sluicegate.models.structured import checked

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    "text",
    [
        '{"n": 3}',
        '\ufeff {"n": 3}\n',
        '```json\n{"n": 3}\n```',
        '```\r\n{"n": 3}\r\n```',
        'Here you are:\n\n~~~json\n{"n": 3}\n~~~\nAnything else?',
        'Sure! The answer is {"n": 3}.',
        'Of [1] and [2] the first says it: {"n": 3}',
        '<tool_call>\n{"name": "Answer", "arguments": {"n": 3}}\n</tool_call>',
        '[TOOL_CALLS][{"name": "Answer", "arguments": {"n": 3}}]',
        '<|python_tag|>{"type": "function", "name": "Answer", "parameters": {"n": 3}}',
        '{"tool_calls": [{"type": "function", "function": {"name": "Answer", "arguments": "{\\"n\\": 3}"}}]}',
        '<|tool_call_start|>[{"name": "Answer", "input": {"n": 3}}]<|tool_call_end|>',
        '{"functionCall": {"name": "Answer", "args": {"n": 3}}}',
        '{"function_call": {"name": "Answer", "arguments": "{\\"n\\": 3}"}}',
        '{"action": "Answer", "action_input": {"n": 3}}',
        'Action: ```json\n[{"tool_name": "Answer", "parameters": {"n": 3}}]\n```',
        '[{"n": 3}]',
        '"{\\"n\\": 3}"',
        '{"result": {"n": 3}}',
        'As asked, {"n": 3}. That is {"n": 3}.',
        'First {"wrong": true}, now right: {"n": 3}',
    ],
)
def test_a_value_is_read_out_of_its_wrapping(text: str) -> None:
    assert checked(text, SCHEMA) == ({"n": 3}, "")


def test_properties_named_as_a_tool_call_s_are_no_wrapping() -> None:
    call = {"type": "object", "properties": {"name": {"type": "string"}, "arguments": {"type": "object"}}}
    assert checked('{"name": "x", "arguments": {"name": "y"}}', call) == ({"name": "x", "arguments": {"name": "y"}}, "")


def test_a_line_break_in_a_string_is_read() -> None:
    assert checked('{"n": 1, "name": "two\nlines"}', SCHEMA) == ({"n": 1, "name": "two\nlines"}, "")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "it is not JSON"),
        ("no JSON", "it is not JSON"),
        ('{"n": 3', "it is not JSON"),
        ('{"n": NaN}', "NaN is no number of JSON"),
        ('{"n": "three"}', "$.n: 'three' is not of type 'integer'"),
        ('Sure: {"n": "three"}', "$.n: 'three' is not of type 'integer'"),
        ('Either {"n": 1} or {"n": 2}', "2 different values that fit"),
        ('[{"n": 1}, {"n": 2}]', "is not of type 'object'"),
        ('{"a": {"n": 1}, "b": {"n": 2}}', "'n' is a required property"),
        ("[" * 100_000, "it is not JSON"),
    ],
)
def test_what_is_not_one_value_is_refused(text: str, wrong: str) -> None:
    value, complaint = checked(text, SCHEMA)
    assert wrong in complaint
    assert value is None or "is not of type" in complaint
