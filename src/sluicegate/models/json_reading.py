"""JSON out of a model's answer.

Models are asked for JSON alone and wrap it nevertheless: in a fence, after a preface, behind a byte order mark, or as
the arguments of a tool call, of which each family writes its own form. A value is taken out of that as it stands;
nothing is repaired.
"""

import json
import re
from collections.abc import Collection, Iterator
from typing import Any, cast

__all__ = ["json_values"]

_FENCE = re.compile(r"(?P<marks>`{3,}|~{3,})[ \t]*[\w+-]*[ \t]*\r?\n?(?P<inside>.*?)(?P=marks)", re.DOTALL)
_OPENING = re.compile(r"[{\[]")
_ARGUMENTS = ("arguments", "parameters", "input", "args", "tool_input", "action_input")
_CALLED = ("function", "tool_calls", "function_call", "functionCall", "toolUse")
_CALL = frozenset(
    {
        "name",
        "type",
        "id",
        "index",
        "tool",
        "tool_name",
        "action",
        "call_id",
        "toolUseId",
        "status",
        *_CALLED,
        *_ARGUMENTS,
    }
)
"""The keys of a tool call, in the forms of the various families and APIs."""


def json_values(text: str, names: Collection[str] = ()) -> list[list[Any]]:
    """The values that `text` may be meant to give, by how plainly it does: the whole text, or else what is in fences
    and then what lies among other words; at last what these have within a wrapping of one: a list of one, an object
    under a name that was not asked for, JSON in a string.

    `names` are the properties that are asked for: a tool call stands for its arguments, unless those are among them.
    Raises `ValueError`, with what is wrong with the whole text, where there is none.
    """
    text = text.replace("\ufeff", "").strip()
    try:
        offered = [[_parsed(text)]]
    except ValueError as error:
        fenced = [value for found in _FENCE.finditer(text) for value in _among(found["inside"])]
        offered = [fenced, list(_among(text))]
        if not any(offered):
            raise ValueError(str(error)) from error
    found = [[inner for value in values for inner in _unwrapped(value, names)] for values in offered]
    if names:
        found.append([inner for values in found for value in values for inner in _within(value, names)])
    return found


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")


_DECODER = json.JSONDecoder(strict=False, parse_constant=_refused)
"""Takes line breaks in strings, which small models write."""


def _parsed(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _among(text: str) -> Iterator[Any]:
    """The objects and lists in a text, none of them inside another."""
    at = 0
    while found := _OPENING.search(text, at):
        try:
            value, at = _DECODER.raw_decode(text, found.start())
        except RecursionError:
            # so deep that it is meant for nothing, and to begin anew at each of its brackets would take minutes
            return
        except ValueError:
            at = found.end()
        else:
            yield value


def _unwrapped(value: Any, names: Collection[str]) -> list[Any]:
    """The value itself, or the arguments of the tool calls that it is. Arguments may be JSON in a string."""
    called = list(_arguments(value, names)) if names else []
    return called or [value]


def _within(value: Any, names: Collection[str]) -> list[Any]:
    """What is in a wrapping of one; empty where there is none."""
    if isinstance(value, str):
        try:
            inner = _parsed(value)
        except ValueError:
            return []
    elif isinstance(value, list) and len(cast("list[Any]", value)) == 1:
        inner = cast("list[Any]", value)[0]
    elif isinstance(value, dict) and len(cast("dict[str, Any]", value)) == 1 and not value.keys() & {*names}:
        (inner,) = cast("dict[str, Any]", value).values()
    else:
        return []
    return _unwrapped(inner, names) if isinstance(inner, dict) else []


def _arguments(value: Any, names: Collection[str]) -> Iterator[Any]:
    if isinstance(value, list):
        for one in cast("list[Any]", value):
            yield from _arguments(one, names)
    elif isinstance(value, dict) and cast("dict[str, Any]", value).keys() <= _CALL:
        call = cast("dict[str, Any]", value)
        for key in _CALLED:
            yield from _arguments(call.get(key), names)
        for key in call.keys() & set(_ARGUMENTS) - set(names):
            try:
                yield _parsed(call[key]) if isinstance(call[key], str) else call[key]
            except ValueError:
                continue
