"""The arguments of a tool call as fields of a form, made of its JSON Schemas, and read back out of one.

A field for each property. A choice, a number and a text have a control of their own; whatever else is edited as JSON.
An empty field leaves its argument out.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from sluicegate.lazy_modules import SCHEMA_FORMATS, postponed
from sluicegate.serving.evidence import EditableCall

with postponed(SCHEMA_FORMATS):
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError

__all__ = ["ArgumentField", "argument_fields", "read_arguments"]

_PREFIX = "argument."
_LINE = 120
"""A text of at most so many characters has a single line."""

_WRONG: Mapping[str, Callable[[Any], str]] = {
    "required": lambda _: "is required",
    "type": lambda types: f"must be {_either(types)}",
    "enum": lambda values: f"must be one of {', '.join(map(_plain, values))}",
    "const": lambda value: f"must be {_plain(value)}",
    "minimum": lambda bound: f"must be at least {bound}",
    "maximum": lambda bound: f"must be at most {bound}",
    "exclusiveMinimum": lambda bound: f"must be more than {bound}",
    "exclusiveMaximum": lambda bound: f"must be less than {bound}",
    "multipleOf": lambda step: f"must be a multiple of {step}",
    "minLength": lambda count: f"must have at least {count} characters",
    "maxLength": lambda count: f"must have at most {count} characters",
    "pattern": lambda pattern: f"must match {pattern}",
    "minItems": lambda count: f"must have at least {count} items",
    "maxItems": lambda count: f"must have at most {count} items",
    "additionalProperties": lambda _: "is not an argument of this tool",
}
_TYPES = {
    "string": "a text", "integer": "a whole number", "number": "a number", "boolean": "yes or no", "array": "a list",
    "object": "an object", "null": "empty",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ArgumentField:
    name: str
    """Of the argument."""
    control: Literal["choice", "number", "line", "text", "json"]
    value: str
    """As the control has it."""
    required: bool
    hint: str
    choices: tuple[tuple[str, str], ...] = ()
    """Values and labels; without the empty one."""
    wrong: str = ""

    @property
    def id(self) -> str:
        return f"{_PREFIX}{self.name}"


def argument_fields(
    call: EditableCall, *, typed: Mapping[str, str] | None = None, wrong: Mapping[str, str] | None = None
) -> list[ArgumentField]:
    """The fields of a call: with its arguments, or with what was `typed` in and what is `wrong` with it."""
    fields: list[ArgumentField] = []
    for name, schema in _properties(call).items():
        control, choices = _control(schema)
        now = call.arguments.get(name)
        shown = "" if now is None else now if control in ("line", "text") and isinstance(now, str) else _json(now)
        fields.append(
            ArgumentField(
                name,
                control,
                shown if typed is None else typed.get(f"{_PREFIX}{name}", ""),
                required=any(name in each.get("required", ()) for each in call.schemas),
                hint=_hint(schema),
                choices=choices,
                wrong=(wrong or {}).get(name, ""),
            )
        )
    return fields


def read_arguments(call: EditableCall, typed: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """What an edit changes, as `Runner.decide` takes it, and what is wrong with it by the names of the arguments; under
    an empty name, what is wrong with none of them."""
    changes: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for name, schema in _properties(call).items():
        text = typed.get(f"{_PREFIX}{name}", "").replace("\r\n", "\n")
        try:
            value = _value(text, _control(schema)[0])
        except ValueError as error:
            wrong[name] = str(error)
            continue
        if value != call.arguments.get(name):
            changes[name] = value
    merged = {name: value for name, value in {**call.arguments, **changes}.items() if value is not None}
    for schema in call.schemas:
        named = {name: merged[name] for name in schema.get("properties", {}) if name in merged}
        own = merged if schema is call.schemas[0] else named
        try:
            for name, what in _misfits(own, schema):
                wrong.setdefault(name, what)
        except OverflowError:
            wrong[""] = "a number in it is too large to be compared"
    if not wrong and not changes:
        wrong[""] = "Nothing was changed. To call it as it is, approve it"
    return changes, wrong


def _value(text: str, control: str) -> Any:
    if not text.strip():
        return None
    if control in ("line", "text"):
        return text
    try:
        value = json.loads(text)
        # what JSON has no number for
        json.dumps(value, allow_nan=False)
    except ValueError:
        raise ValueError("must be a number" if control == "number" else "must be JSON") from None
    return value


def _misfits(value: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for error in cast("Iterable[ValidationError]", Draft202012Validator(schema).iter_errors(value)):
        rule, asked = str(error.validator), cast("Any", error.validator_value)
        what = _WRONG[rule](asked) if rule in _WRONG else error.message
        if error.absolute_path:
            inner = [str(each) for each in error.absolute_path][1:]
            yield str(error.absolute_path[0]), f"{'.'.join(inner)} {what}" if inner else what
        elif rule == "required":
            yield from ((name, what) for name in asked if name not in value)
        elif rule == "additionalProperties":
            yield from ((name, what) for name in value if name not in schema.get("properties", {}))
        else:
            yield "", what


def _properties(call: EditableCall) -> dict[str, Mapping[str, Any]]:
    """Each argument's schema, what a later one says of it over what an earlier one says."""
    found: dict[str, Mapping[str, Any]] = {}
    for schema in call.schemas:
        for name, its in schema.get("properties", {}).items():
            found[name] = {**found.get(name, {}), **_plainly(its, schema)}
    return {**found, **{name: {} for name in call.arguments if name not in found}}


def _plainly(its: Mapping[str, Any], whole: Mapping[str, Any]) -> Mapping[str, Any]:
    """A property's schema with what it refers to, and without the null that stands for leaving it out."""
    if (place := str(its.get("$ref", ""))).startswith("#/$defs/"):
        target: Mapping[str, Any] = whole.get("$defs", {}).get(place.removeprefix("#/$defs/"), {})
        return _plainly({**target, **{key: value for key, value in its.items() if key != "$ref"}}, {})
    others = [each for each in its.get("anyOf", ()) if each.get("type") != "null"]
    if len(others) == 1:
        return _plainly({**others[0], **{key: value for key, value in its.items() if key != "anyOf"}}, whole)
    return its


def _control(
    schema: Mapping[str, Any],
) -> tuple[Literal["choice", "number", "line", "text", "json"], tuple[tuple[str, str], ...]]:
    if choices := schema.get("enum") or ([schema["const"]] if "const" in schema else []):
        return "choice", tuple((_json(each), _plain(each)) for each in choices if each is not None)
    match schema.get("type"):
        case "boolean":
            return "choice", (("true", "yes"), ("false", "no"))
        case "integer" | "number":
            return "number", ()
        case "string":
            return ("line" if schema.get("maxLength", _LINE + 1) <= _LINE or "format" in schema else "text"), ()
        case _:
            return "json", ()


def _hint(schema: Mapping[str, Any]) -> str:
    bounds = [
        _WRONG[rule](schema[rule]).removeprefix("must ").removeprefix("have ").removeprefix("be ")
        for rule in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength",
                     "maxLength", "pattern", "minItems", "maxItems")
        if rule in schema
    ]  # fmt: skip
    said = str(schema.get("description", "")).strip().rstrip(".")
    default = schema.get("default")
    parts = filter(None, (said, ", ".join(bounds), f"by default {_plain(default)}" if default else ""))
    return ". ".join(f"{part[:1].upper()}{part[1:]}" for part in parts)


def _either(types: Any) -> str:
    return " or ".join(_TYPES.get(each, str(each)) for each in ([types] if isinstance(types, str) else types))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
