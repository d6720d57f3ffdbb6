"""Answers that must fit a JSON Schema: always validated, with one retry."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from sluicegate.errors import UnusableAnswerError
from sluicegate.models.provider import ModelResponse
from sluicegate.services import Message, ModelRequest

__all__ = ["ask_structured", "checked", "closed", "misfit"]

FENCE = re.compile(r"^\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The same schema without unnamed properties: what it admits is admitted by the original too.

    For constrained decoding, in which a small model may otherwise fill its allowance with properties of its own.
    """
    narrowed = {key: _closed_inside(value) for key, value in schema.items()}
    return {"additionalProperties": False, **narrowed} if "properties" in schema else narrowed


def _closed_inside(value: Any) -> Any:
    if isinstance(value, Mapping):
        return closed(value)  # pyright: ignore[reportUnknownArgumentType] - a JSON value
    if isinstance(value, list):
        return [_closed_inside(item) for item in value]  # pyright: ignore[reportUnknownVariableType]
    return value


async def ask_structured(
    chat: Callable[[ModelRequest], Awaitable[ModelResponse]], request: ModelRequest
) -> tuple[ModelResponse, Any]:
    """The answer and its value. The retry shows the model what was wrong; tokens of both are counted.

    Raises `ModelError` SG305 when the second answer does not fit either.
    """
    schema = request.schema or {}
    first = await chat(request)
    value, wrong = checked(first.text, schema)
    if not wrong:
        return first, value
    told = (
        *request.messages,
        Message("assistant", first.text),
        Message("user", f"That answer cannot be used: {wrong}. Answer again, with JSON that fits the schema."),
    )
    second = await chat(replace(request, messages=told, on_token=None))
    value, wrong = checked(second.text, schema)
    if wrong:
        raise UnusableAnswerError(f"the answer does not fit its schema: {wrong}")
    return replace(
        second,
        prompt_tokens=first.prompt_tokens + second.prompt_tokens,
        completion_tokens=first.completion_tokens + second.completion_tokens,
        cached_tokens=first.cached_tokens + second.cached_tokens,
    ), value


def checked(text: str, schema: Mapping[str, Any]) -> tuple[Any, str]:
    """The value in `text`, and what is wrong with it; the latter is empty when it fits."""
    fenced = FENCE.match(text)
    try:
        value = json.loads(fenced[1] if fenced else text, parse_constant=_not_json)
    except (ValueError, RecursionError) as error:
        return None, f"it is not JSON ({error})"
    return value, misfit(value, schema)


def misfit(value: Any, schema: Mapping[str, Any]) -> str:
    """Why a value does not fit a schema; empty when it does."""
    from jsonschema import Draft202012Validator, exceptions

    library: Any = exceptions  # its types are loose
    try:
        problem = library.best_match(Draft202012Validator(schema).iter_errors(value))
    except OverflowError:
        return "$: a number in it is too large to be compared"
    return f"{problem.json_path}: {problem.message}" if problem else ""


def _not_json(constant: str) -> Any:
    """Python reads ``NaN`` and ``Infinity``, which JSON does not have."""
    raise ValueError(f"{constant} is no number of JSON")
