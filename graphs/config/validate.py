"""From data to a validated config, with every problem at its place.

Values are checked strictly (a text is no number, 1 is no boolean) and lists may be tuples: the models are validated
once strictly and once leniently, and the lenient result is used only when the strict pass found nothing real. When a
part is broken the rest is still validated, on a copy without the broken parts, so that later checks can say more.
"""

import json
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from sluicegate.errors import Problem, nearest
from sluicegate.graphs.config.models import WorkflowConfig, guard_names
from sluicegate.graphs.config.source import Pointer, Source
from sluicegate.models.config import MODEL_PATTERN
from sluicegate.policies.rates.rate import RATE_PATTERN

__all__ = ["Faults", "valid_config", "validated"]

_Model = TypeVar("_Model", bound=BaseModel)

_PLACEHOLDERS: Mapping[str, Any] = {
    "workflow": "unnamed",
    "version": "0",
    "purpose": "-",
    "models": {"_": {"use": "embedded:none"}},
    "intents": {"_": {"task": "short-answer"}},
    "start": "_",
    "nodes": {"_": {"kind": "_"}},
}
"""Stand-ins for required parts that are broken, so that the others can be checked."""

_STAND_INS: Mapping[str, Any] = {
    "nodes": {"otherwise": "_"},
    "guarantees": {"no": "_", "without": "_"},
    "waive": {"guarantee": "_", "reason": "_"},
}
"""Stand-ins for broken branches, guarantees and waivers, so that the items after them keep their positions."""

_FORMS: Mapping[str, str] = {
    MODEL_PATTERN: 'provider:model, such as "ollama:qwen3:1.7b"',
    r"^[A-Za-z_][A-Za-z0-9_.-]*$": "of a name: letters, digits, `_`, `-` and `.`, starting with a letter",
    r"^[A-Za-z_][A-Za-z0-9_]*$": "of an input's name: letters, digits and `_`, starting with a letter",
    RATE_PATTERN: 'of a rate, such as "60 per minute" or "60 per minute, 10 at once"',
    r"^(role|group|user):[\w.@-]+$": "role:NAME, group:NAME or user:NAME",
}
"""Descriptions of the models' patterns, for messages."""


class Faults:
    """The problems of a source, and which parts are broken."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self.broken: set[Pointer] = set()

    def add(
        self,
        code: str,
        message: str,
        pointer: Pointer,
        *,
        choices: Iterable[str] = (),
        word: str | None = None,
        hint: str | None = None,
        of_key: bool = False,
        severity: str = "error",
    ) -> None:
        """Report a problem at `pointer`; `word` is compared with the `choices` for a suggestion."""
        listed = tuple(choices)
        suggestion = nearest(word, listed) if word is not None else None
        place = self.source.place(pointer, of_key=of_key)
        self.problems.append(Problem(code, message, place, listed, suggestion, hint, severity))

    def touches(self, pointer: Pointer) -> bool:
        """Whether a part at, around or inside `pointer` is broken."""
        return any(part[: len(pointer)] == pointer or pointer[: len(part)] == part for part in self.broken)


def valid_config(source: Source, faults: Faults) -> WorkflowConfig | None:
    """The config, or what is left of it without its broken parts; None when too little is left."""
    data: Any = json.loads(_json(source.data))
    _without_unknown_guards(data.get("guards"), faults)
    config = validated(WorkflowConfig, data, (), faults)
    while config is None:
        for pointer in faults.broken:
            _cut(data, pointer)
        for key, stand_in in _PLACEHOLDERS.items():
            data.setdefault(key, stand_in)
        # what fails only now fails because something was removed from it, which is reported already
        silent = Faults(source)
        config = validated(WorkflowConfig, data, (), silent)
        if silent.broken <= faults.broken:
            break
        faults.broken |= silent.broken
    return config


def _without_unknown_guards(block: Any, faults: Faults) -> None:
    # the model cannot locate an unknown guard, because guards of packages are extra keys to it
    known = guard_names()
    for name in [key for key in cast("dict[str, Any]", block) if key not in known] if isinstance(block, dict) else ():
        faults.add("SG116", f"unknown guard {name!r}", ("guards", name), choices=known, word=name, of_key=True)
        faults.broken.add(("guards", name))
        del block[name]


def validated(
    model: type[_Model], data: Any, at: Pointer, faults: Faults, *, also: Sequence[str] = ()
) -> _Model | None:
    """The model of `data`, which stands at pointer `at`; None after its problems were noted.

    `also` are legal keys besides the model's.
    """
    if _errors(model, data, at, faults, also):
        return None
    return model.model_validate_json(_json(data))


def _json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=True)


def _errors(model: type[BaseModel], data: Any, at: Pointer, faults: Faults, also: Sequence[str]) -> bool:
    """Report what is wrong with `data`, once per pointer; False when nothing is."""
    text = _json(data)
    details: list[Any] = []
    for strict in (True, False):
        try:
            model.model_validate_json(text, strict=strict)
        except ValidationError as error:
            details += error.errors(include_url=False)
    found: dict[Pointer, list[Any]] = {}
    for detail in details:
        if _only_strict(detail):
            continue
        pointer = _pointer(detail, data)
        group = found.setdefault(pointer, [])
        if not any(other["type"] == detail["type"] or other["msg"] == detail["msg"] for other in group):
            group.append(detail)
    meant = {(*pointer[:-1], _meant(model, pointer)) for pointer, [one, *_] in found.items() if _is_extra(one)}
    for pointer, group in found.items():
        if group[0]["type"] == "missing" and pointer in meant:
            faults.broken.add((*at, *_removable(pointer, data)))
            continue  # it is present but misspelt, and reported as such
        _explain(model, at, pointer, group, faults, also)
        faults.broken.add((*at, *_removable(pointer, data)))
    return bool(found)


def _is_extra(detail: Any) -> bool:
    return detail["type"] == "extra_forbidden"


def _meant(model: type[BaseModel], pointer: Pointer) -> str | None:
    """The key that an unknown one was probably meant to be."""
    return nearest(str(pointer[-1]), _keys_at(model, pointer[:-1]))


def _only_strict(detail: Any) -> bool:
    """True for complaints that come from how JSON lists are read strictly, not from the file."""
    given: Any = detail["input"]
    if not isinstance(given, list | tuple):
        return False
    length = len(cast("list[Any]", given))
    return detail["type"] in ("tuple_type", "list_type") or (
        detail["type"] == "too_short" and length >= detail["ctx"]["min_length"]
    )


def _pointer(detail: Any, data: Any) -> Pointer:
    """Where in the data a detail belongs: pydantic's location without the names of union members."""
    pointer: list[str | int] = []
    value = data
    location = detail["loc"]
    for position, step in enumerate(location):
        if _has(value, step):
            pointer.append(step)
            value = value[step]
        elif detail["type"] == "missing" and position == len(location) - 1:
            pointer.append(step)
    return tuple(pointer)


def _has(value: Any, step: str | int) -> bool:
    if isinstance(value, dict):
        return step in value
    return isinstance(value, list) and isinstance(step, int) and 0 <= step < len(cast("list[Any]", value))


def _removable(pointer: Pointer, data: Any) -> Pointer:
    """The innermost part that can be removed without moving its neighbours: a key, or an item with a stand-in."""
    present: list[str | int] = []
    value = data
    for step in pointer:
        if not _has(value, step):
            break
        present.append(step)
        value = value[step]
    if len(present) < len(pointer) and len(pointer) == 1:
        return pointer
    if present[:1] == ["nodes"] and present[2:3] == ["then"] and len(present) > 3:
        return tuple(present[:4])
    if present[:1] == ["nodes"] and present[2:3] and present[2] not in ("kind", "then"):
        return tuple(present[:3])
    if present and present[0] in _STAND_INS and len(present) > 1:
        return tuple(present[:2])
    while present and isinstance(present[-1], int):
        present.pop()
    return tuple(present)


def _cut(data: Any, pointer: Pointer) -> None:
    """Remove a part, or put a stand-in in its place."""
    holder, last = data, pointer[-1] if pointer else ""
    for step in pointer[:-1]:
        if not _has(holder, step):
            return
        holder = holder[step]
    if not _has(holder, last):
        return
    if isinstance(last, int):
        holder[last] = _STAND_INS[str(pointer[0])]
    else:
        del holder[last]


def _explain(
    model: type[BaseModel], at: Pointer, pointer: Pointer, group: list[Any], faults: Faults, also: Sequence[str]
) -> None:
    detail, where = group[0], (*at, *pointer)
    kind, last = detail["type"], str(pointer[-1]) if pointer else ""
    if kind == "extra_forbidden":
        keys = [*(also if len(pointer) == 1 else ()), *_keys_at(model, pointer[:-1])]
        faults.add("SG105", f"unknown key {last!r}", where, choices=keys, word=last, of_key=True)
    elif kind == "missing":
        faults.add("SG106", f"missing key {last!r}", where[:-1], of_key=True)
    elif len(group) == 1 and kind == "literal_error":
        choices = re.findall(r"'([^']*)'", detail["ctx"]["expected"])
        given = detail["input"]
        faults.add("SG107", f"{_shown(given)} is not allowed here", where, choices=choices, word=str(given))
    elif kind == "string_type" and isinstance(detail["input"], float):
        raw = faults.source.raw(where) or str(detail["input"])
        what = f"{raw} is read as the number {detail['input']:g}, text is expected"
        faults.add("SG103", what, where, hint=f'Write "{raw}" in quotes')
    elif kind == "string_type" and isinstance(detail["input"], int):
        raw = faults.source.raw(where) or str(detail["input"])
        faults.add("SG107", f"{raw} is not text", where, hint=f'Write "{raw}" in quotes')
    elif kind == "string_pattern_mismatch":
        pattern = detail["ctx"]["pattern"]
        what = f"{_shown(detail['input'])} does not have the form {_FORMS.get(pattern, pattern)}"
        faults.add("SG107", what, where, of_key=detail["loc"][-1] == "[key]")
    else:
        said = list(dict.fromkeys(_worded(one) for one in group))
        shown = f"{_shown(detail['input'])} should be "
        if all(one.startswith(shown) for one in said):
            said = [said[0], *(one.removeprefix(shown) for one in said[1:])]
        faults.add("SG107", " or ".join(said), where)


def _worded(detail: Any) -> str:
    message = detail["msg"]
    if detail["type"] == "value_error":
        return message.removeprefix("Value error, ")
    if detail["type"] in ("model_type", "dict_type", "model_attributes_type"):
        message = "should be a map"
    elif detail["type"] in ("list_type", "tuple_type"):
        message = "should be a list"
    else:
        message = message.replace("Input should be a valid", "should be a").replace("Input should be", "should be")
        message = message.replace("a integer", "a whole number").split(", unable to parse")[0]
        message = message.replace("should be a string", "should be text").replace("String should", "should")
        message = re.sub(r"^(Tuple|List|Dictionary) should", "should", message).split(" after validation")[0]
    return f"{_shown(detail['input'])} {message[:1].lower()}{message[1:]}"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list | tuple):
        return "a list"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"


def _keys_at(model: type[BaseModel], pointer: Pointer) -> list[str]:
    """The legal keys of the map at `pointer`."""
    found: list[Any] = [model]
    for step in pointer:
        found = [inner for annotation in found for inner in _into(annotation, step)]
    models = [one for annotation in found for one in _plain(annotation) if _is_model(one)]
    return list(dict.fromkeys(info.alias or name for one in models for name, info in one.model_fields.items()))


def _into(annotation: Any, step: str | int) -> list[Any]:
    """The types that a value's part can have."""
    found: list[Any] = []
    for one in _plain(annotation):
        if _is_model(one):
            found += [info.annotation for name, info in one.model_fields.items() if step in (name, info.alias)]
        elif isinstance(step, int):
            found += typing.get_args(one)[:1]
        else:
            found += typing.get_args(one)[1:2]
    return found


def _plain(annotation: Any) -> list[Any]:
    """The members of a union, without what `Annotated` adds."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _plain(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return [one for member in typing.get_args(annotation) for one in _plain(member)]
    return [annotation]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
