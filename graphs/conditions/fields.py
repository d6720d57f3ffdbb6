"""The fields that conditions may read: one table, derived from the state's `TypedDict`s.

A field's name is its concern and its key, such as ``intent.confidence``. Some are derived: `router.*` is what the
router set (the state calls it `route`), `retrieval.*` summarises the documents, `tool.*` is the last tool call.
`extra.*` is what installed node kinds declare to write there.
"""

import functools
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from sluicegate import state as state_module
from sluicegate.files import csv_records
from sluicegate.nodes.registry import kinds
from sluicegate.state import State

__all__ = ["UNSET", "Field", "FieldType", "fields", "fit_together", "misfit"]

FieldType = Literal["bool", "int", "double", "string", "list(string)", "list(map)", "map(double)", "map", "dyn"]


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = _Unset()
"""What `Field.read` gives for a field that no node has written yet."""


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    type: FieldType
    read: Callable[[Mapping[str, Any]], Any]
    """The value in a state, or `UNSET`."""
    key: str
    """The state key it comes from; of `extra`, with the key in it: ``extra.urgent``."""
    choices: tuple[str, ...] = ()
    """Every value it can have, where they can be listed."""
    initial: bool = False
    """It has a value from the start, such as a count of 0."""
    optional: bool = False
    """A node that writes its group of fields may omit it."""
    told: Callable[[Any], Any] = lambda value: value
    """What a trail says of its value."""
    described: str = ""
    """The meaning of a derived field; those of the others are docstrings in `state`."""

    @property
    def meaning(self) -> str:
        """The meaning, for documentation. Reads source code, so it is slow."""
        concern, _, member = self.name.partition(".")
        if self.described or not member:
            return self.described or _meanings("State").get(concern, "")
        return _meanings("ToolCall" if concern == "tool" else self.key).get(
            "tool" if self.name == "tool.name" else member, ""
        )


_DERIVED: tuple[Field, ...] = (
    Field(
        "retrieval.count", "int", lambda state: len(state.get("documents") or ()), "documents", initial=True,
        described="How many passages were retrieved; 0 before.",
    ),
    Field(
        "retrieval.best_score", "double",
        lambda state: max((document["score"] for document in state.get("documents") or ()), default=0.0),
        "documents", initial=True, described="The best passage's score; 0 when there is none.",
    ),
    Field(
        "tool.ok", "bool", lambda state: _last_call(state, "status", lambda status: status == "done"), "tool_calls",
        described="The last tool call worked.",
    ),
    Field(
        "request.attachments", "list(map)", lambda state: [
            {"name": one["name"], "rows": csv_records(one["text"])} for one in state["request"].get("attachments", ())
        ], "request",
        initial=True, told=lambda value: [f"{one['name']}: {len(one['rows']):,} rows" for one in value],
    ),
)  # fmt: skip

_INITIAL: Mapping[str, Any] = {
    "documents": [], "tool_calls": [], "replies": [],
    "spend": {"usd": 0.0, "estimated_usd": 0.0, "prompt_tokens": 0, "completion_tokens": 0,
              "slm_calls": 0, "llm_calls": 0, "stopped": False, "stopped_by": ""},
}  # fmt: skip
"""Values before a node has written a group of fields; the other groups are `UNSET` until then."""

_GIVEN = frozenset({"request", "principal", "run"})
"""Groups of fields that are in the state before the first node."""

_RENAMED = {"route": "router"}
_OMITTED = frozenset({"trail", "extra", "earlier_documents", "conversation", "branches", "reserved"})


def _last_call(state: Mapping[str, Any], key: str, change: Callable[[Any], Any] = lambda value: value) -> Any:
    calls = state.get("tool_calls")
    return change(calls[-1][key]) if calls else UNSET


@functools.cache
def fields() -> Mapping[str, Field]:
    """Every field by its name, in the state's order. Raises as `kinds` does."""
    found: dict[str, Field] = {}
    for key, hint in typing.get_type_hints(State).items():
        if key in _OMITTED:
            continue
        concern = _RENAMED.get(key, key)
        if typing.is_typeddict(hint):
            for name, inner in typing.get_type_hints(hint).items():
                field = _member(f"{concern}.{name}", key, name, inner, optional=name not in hint.__required_keys__)
                found[field.name] = field
        else:
            found[key] = Field(key, _type(hint), _whole(key), key, initial=key in _INITIAL)
    for key, inner in typing.get_type_hints(state_module.ToolCall).items():
        name = "tool.name" if key == "tool" else f"tool.{key}"
        read = functools.partial(_last_call, key=key)
        found[name] = Field(name, _type(inner), read, "tool_calls", choices=_choices(inner))
    found.update({field.name: field for field in _DERIVED})
    for kind in kinds().values():
        for key, hint in kind.extra.items():
            name = f"extra.{key}"
            described = f"Written by `{kind.name}`."
            found[name] = Field(name, _type(hint), _extra(key), name, _choices(hint), described=described)
    return types.MappingProxyType(found)


def _whole(key: str) -> Callable[[Mapping[str, Any]], Any]:
    initial = _INITIAL.get(key, UNSET)
    return lambda state: state.get(key, initial)


def _extra(key: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda state: state.get("extra", {}).get(key, UNSET)


def _member(name: str, key: str, inner_key: str, hint: Any, *, optional: bool) -> Field:
    initial = _INITIAL.get(key, {}).get(inner_key, UNSET)

    def read(state: Mapping[str, Any]) -> Any:
        concern = state.get(key)
        return concern.get(inner_key, initial) if concern else initial

    given = initial is not UNSET or (key in _GIVEN and not optional)
    return Field(name, _type(hint), read, key, _choices(hint), given, optional)


def _choices(hint: Any) -> tuple[str, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()


def _type(hint: Any) -> FieldType:
    if isinstance(hint, types.UnionType):
        hint = typing.get_args(hint)[0]
    origin = typing.get_origin(hint)
    simple: dict[Any, FieldType] = {bool: "bool", int: "int", float: "double", str: "string", Literal: "string"}
    if hint in simple or origin in simple:
        return simple[origin or hint]
    if origin is list:
        return "list(string)" if typing.get_args(hint) == (str,) else "list(map)"
    if origin is dict:
        return "map(double)" if typing.get_args(hint)[1] is float else "map"
    return "dyn"


_HARMLESS = ("pass", "redact")
"""What a check may ask for without failing the draft."""


def fit_together(values: Mapping[str, object]) -> bool:
    """Whether one state can have these values: a draft failed exactly when its check asks for more than a redaction."""
    if "checks.failed" not in values or "checks.action" not in values:
        return True
    failed, action = values["checks.failed"], values["checks.action"]
    return failed is action if UNSET in (failed, action) else failed is (action not in _HARMLESS)


def misfit(update: Mapping[str, Any]) -> str:
    """What conditions would read in these changes and what is not as declared; empty when everything is."""
    written = {name: field for name, field in fields().items() if isinstance(update.get(field.key), Mapping)}
    values = {name: field.read(update) for name, field in written.items()}
    for name, field in written.items():
        if values[name] is UNSET and not field.optional:
            return f"no {name}"
        if values[name] is not UNSET and not _fits(values[name], field):
            expected = f"one of {', '.join(field.choices)}" if field.choices else field.type
            return f"{type(values[name]).__name__} as {name}, which is {expected}"
    return "" if fit_together(values) else f"{values['checks.failed']} as checks.failed for {values['checks.action']!r}"


def _fits(value: Any, field: Field) -> bool:
    if field.type == "list(string)":
        return isinstance(value, list) and all(isinstance(each, str) for each in cast("list[Any]", value))
    if field.type == "bool":
        return isinstance(value, bool)
    if field.type in ("int", "double"):
        return isinstance(value, int if field.type == "int" else (int, float)) and not isinstance(value, bool)
    return field.type != "string" or (isinstance(value, str) and (not field.choices or value in field.choices))


@functools.cache
def _meanings(concern: str) -> Mapping[str, str]:
    """The docstrings of a group's keys."""
    import ast
    import inspect

    hints = typing.get_type_hints(State)
    shape = cast("type[Any]", hints.get(concern) or getattr(state_module, concern))
    tree = ast.parse(inspect.getsource(shape)).body[0]
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for statement, following in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
        ):
            found[statement.target.id] = inspect.cleandoc(str(following.value.value)).replace("\n", " ")
    return found
