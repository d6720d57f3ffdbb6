"""Answers that must fit a JSON Schema: always validated, with one retry."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from sluicegate.errors import UnusableAnswerError
from sluicegate.lazy_modules import SCHEMA_FORMATS, postponed
from sluicegate.models.json_reading import json_values
from sluicegate.models.provider import ModelResponse
from sluicegate.services import Message, ModelRequest

__all__ = ["ask_structured", "checked", "closed", "misfit"]


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


def misfit(value: Any, schema: Mapping[str, Any]) -> str:
    """What is wrong with a value; empty when it fits."""
    with postponed(SCHEMA_FORMATS):
        from jsonschema import Draft202012Validator, exceptions

    library: Any = exceptions  # its types are loose

    try:
        json.dumps(value, allow_nan=False, default=str)
    except ValueError:
        return "$: a number in it is none of JSON"
    try:
        problem = library.best_match(Draft202012Validator(schema).iter_errors(value))
    except OverflowError:
        return "$: a number in it is too large to be compared"
    return f"{problem.json_path}: {problem.message}" if problem else ""


def checked(text: str, schema: Mapping[str, Any]) -> tuple[Any, str]:
    """The value in a model's `text` that fits, and what is wrong; the latter is empty when there is one such value.

    Different values that fit equally well are wrong too: which of them is the answer is not for us to say.
    """
    try:
        offered = json_values(text, schema.get("properties", {}))
    except ValueError as error:
        return None, f"it is not JSON ({error})"
    wrong = ""
    for values in offered:
        fitting: list[Any] = []
        for value in values:
            complaint = misfit(value, schema)
            wrong = wrong or complaint
            if not complaint and value not in fitting:
                fitting.append(value)
        if len(fitting) == 1:
            return fitting[0], ""
        if fitting:
            return None, f"it has {len(fitting)} different values that fit"
    return None, wrong
