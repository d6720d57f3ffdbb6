"""Plain data as Cedar's: a principal, a resource and a context become entities and a record.

Names go in as data (type and id apart), never as Cedar source, so no name of a person, role or document can be read
as policy text. Each function raises `ValueError` for invalid data.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

from sluicegate.state import Principal

__all__ = [
    "RANKS",
    "context_json",
    "entities_in",
    "labels",
    "objects_in",
    "principal_json",
    "rank",
    "resource_json",
    "uid",
]

RANKS: dict[str, int] = {"public": 0, "internal": 1, "confidential": 2, "restricted": 3}
"""Ranks of clearances and classifications."""
_NUMBER = re.compile(r"-?[0-9]{1,14}(\.[0-9]+)?")
"""A number as text, as tables hold it."""
_CEDARS = Decimal("0.0001")
"""Cedar's decimals have four places."""


def uid(type: str, id: str) -> dict[str, str]:
    return {"type": type, "id": id}


def entities_in(policies: Any) -> Iterator[dict[str, str]]:
    """Every entity that policies in Cedar's JSON form name."""
    return (part for part in objects_in(policies) if part.keys() == {"type", "id"})


def objects_in(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON value."""
    if isinstance(value, dict):
        inside = cast("dict[str, Any]", value)
        yield inside
        for part in inside.values():
            yield from objects_in(part)
    elif isinstance(value, list):
        for part in cast("list[Any]", value):
            yield from objects_in(part)


def rank(value: Any) -> int:
    """The rank of a clearance or classification given as a word or as a rank."""
    if isinstance(value, int) and not isinstance(value, bool) and value in RANKS.values():
        return value
    if isinstance(value, str) and value in RANKS:
        return RANKS[value]
    raise ValueError(f"{value!r} is not one of {', '.join(RANKS)}")


def labels(principal: Principal) -> list[str]:
    """Every label in a document's `readers` that means this principal."""
    return [
        "everyone",
        f"user:{_name(principal['id'])}",
        *(f"role:{_name(role)}" for role in principal["roles"]),
        *(f"group:{_name(group)}" for group in principal["groups"]),
    ]


def principal_json(principal: Principal) -> str:
    """The principal's entity, with its roles and groups as parents."""
    roles = [uid("Role", role) for role in dict.fromkeys(principal["roles"])]
    groups = [uid("Group", group) for group in dict.fromkeys(principal["groups"])]
    attributes = {"clearance": rank(principal["clearance"]), "labels": labels(principal)}
    user = {"uid": uid("User", _name(principal["id"])), "attrs": attributes, "parents": [*roles, *groups]}
    return json.dumps([user])


def resource_json(resource: Mapping[str, Any], context: Mapping[str, Any]) -> str:
    """The entities of a resource, of the item that it is asked for and of the arguments that it is called with; a
    requester becomes a user, a workflow a workflow, a classification its rank."""
    attributes = {name: value for name, value in resource.items() if name not in ("type", "id")}
    if "classification" in attributes:
        attributes["classification"] = rank(attributes["classification"])
    for attribute, kind in (("requester", "User"), ("workflow", "Workflow")):
        if attribute in attributes:
            attributes[attribute] = {"__entity": uid(kind, _name(attributes[attribute]))}
    entity: dict[str, Any] = {
        "uid": uid(_name(resource["type"]), _name(resource["id"])),
        "attrs": attributes,
        "parents": [],
    }
    with_tags = [part for name, kind in _TAGGED.items() if name in context for part in _item(kind, context[name])]
    return json.dumps([entity, *with_tags], default=_plain)


def context_json(context: Mapping[str, Any]) -> str:
    entities = {
        name: {"__entity": _item_uid("Item", kind, context[name])} for name, kind in _TAGGED.items() if name in context
    }
    if entities:
        context = {**context, **entities}
    return json.dumps(context, default=_plain)


_TAGGED = {"item": "", "arguments": "arguments of "}
"""What of a context becomes an entity with tags, and what tells the ids of one from those of another."""


def _item_uid(type: str, kind: str, item: Mapping[str, Any]) -> dict[str, str]:
    return uid(type, f"{kind}{item['of']}/{item['index']}")


def _item(kind: str, item: Mapping[str, Any]) -> list[dict[str, Any]]:
    """An item's entity, whose tags are its parts as texts, and that of those which are numbers."""
    numbers, own = _item_uid("Numbers", kind, item), _item_uid("Item", kind, item)
    texts, decimals = dict[str, str](), dict[str, Any]()
    for name, part in _leaves(item["parts"]):
        texts[name] = part if isinstance(part, str) else json.dumps(part)
        if not isinstance(part, bool) and (not isinstance(part, str) or _NUMBER.fullmatch(part)):
            # one that Cedar cannot hold is refused, and with it the request
            rounded = Decimal(texts[name]).quantize(_CEDARS)
            decimals[name] = {"__extn": {"fn": "decimal", "arg": f"{rounded:f}"}}
    attributes = {"of": item["of"], "index": item["index"], "numbers": {"__entity": numbers}}
    return [
        {"uid": numbers, "attrs": {}, "parents": [], "tags": decimals},
        {"uid": own, "attrs": attributes, "parents": [], "tags": texts},
    ]


def _leaves(parts: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str | float]]:
    """The texts, numbers and truth values of a map, each with its way there: ``customer.country``."""
    for name, part in parts.items():
        if isinstance(part, Mapping):
            yield from _leaves(cast("Mapping[str, Any]", part), f"{before}{name}.")
        elif isinstance(part, str | int | float):
            yield f"{before}{name}", part


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not a name")
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{value.microsecond // 1000:03d}Z"
    if isinstance(value, frozenset | set | tuple):
        return sorted(str(item) for item in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    raise ValueError(f"{value!r} is not plain data")
