"""Values that policies compare with and that no request has, so that a permit or a forbid would never apply.

Cedar's schema knows types, not which intents, tools or hours there are; the workflow does. A constant that is none of
them is an error with the nearest that is one. So is a condition that holds for no combination of them, such as
``context.hour > 22 && context.hour < 6``: each is evaluated over all of them, and what is not known stays unknown.

Roles and groups are whatever identities come with: one is unknown only where `policy: roles` lists them, or where it is
one letter off another that is named elsewhere.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from operator import add, eq, ge, gt, le, lt, mul, ne, sub
from typing import Any, TypeAlias, cast, get_args

import cedarpy

from sluicegate.errors import Problem, nearest
from sluicegate.policies.cedar.entities import RANKS, entities_in, objects_in
from sluicegate.policies.cedar.sources import BASE, PolicyText
from sluicegate.services import OperatorTask

__all__ = ["World", "as_json", "value_faults"]

Field: TypeAlias = tuple[str, str]
"""A variable and its attribute, such as ``("context", "intent")``."""

_RANKS = tuple(RANKS.values())
_MOST_CASES = 20_000
_COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    "==": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge, "+": add, "-": sub, "*": mul,
}  # fmt: skip
_BOOLEAN = frozenset({"==", "!=", "<", "<=", ">", ">=", "&&", "||", "!", "like", "contains"})


@dataclass(frozen=True, slots=True)
class World:
    """What a workflow's requests may have."""

    values: Mapping[Field, Sequence[Any]]
    """Of each attribute whose values are known, all of them. One that is a set has these as members."""
    entities: Mapping[str, Sequence[str]]
    """The ids there are, by entity type; a type that is not here is open."""
    named: Mapping[str, Sequence[str]]
    """Roles and groups of the example decisions, by entity type."""
    zone: str = "UTC"

    @classmethod
    def of(
        cls,
        *,
        intents: Sequence[str],
        risks: Sequence[str],
        guards: Sequence[str],
        entities: Mapping[str, Sequence[str]],
        indexes: Sequence[str],
        named: Mapping[str, Sequence[str]],
        zone: str,
    ) -> "World":
        providers = sorted({model.partition(":")[0] for model in entities.get("Model", ())})
        return cls(
            {
                ("context", "intent"): (*intents, ""),
                ("context", "risk"): tuple(risks),
                ("context", "hour"): tuple(range(24)),
                ("context", "classification"): _RANKS,
                ("context", "data_classes"): tuple(guards),
                ("context", "stage"): ("request", "retrieved", "output"),
                ("context", "task"): get_args(OperatorTask),
                ("resource", "classification"): _RANKS,
                ("principal", "clearance"): _RANKS,
                ("resource", "provider"): providers,
                ("resource", "index"): tuple(indexes),
            },
            entities,
            named,
            zone,
        )


@lru_cache(maxsize=1024)
def as_json(text: str) -> str:
    """Policies that parse, in Cedar's JSON format."""
    return cedarpy.policies_to_json_str(text)


def value_faults(policies: Sequence[PolicyText], world: World) -> list[Problem]:
    """Every such value and condition of policies that parse and fit the schema."""
    parsed: list[tuple[PolicyText, dict[str, Any]]] = []
    for policy in policies:
        texts: dict[str, Any] = json.loads(as_json(policy.text))["staticPolicies"]
        parsed += [(policy, body) for body in texts.values()]
    shipped = [each for each in parsed if each[0].file.path and BASE in each[0].file.path.parents]
    mentioned = Counter(
        (entity["type"], entity["id"])
        for _, body in parsed
        for entity in entities_in(body)
        if entity["type"] != "Action"
    )
    named = {entity["id"] for _, body in shipped for entity in entities_in(body)}
    world = replace(world, named={kind: [*names, *named] for kind, names in world.named.items()})
    problems: list[Problem] = []
    for policy, body in parsed[len(shipped) :]:  # those of the base come first
        found = [*_unknown_entities(policy, body, world, mentioned), *_unknown_values(policy, body, world)]
        problems += found or _dead(policy, body, world)
    return problems


def _unknown_entities(
    policy: PolicyText, body: Mapping[str, Any], world: World, mentioned: Mapping[tuple[str, str], int]
) -> Iterator[Problem]:
    named = {(one["type"], one["id"]) for one in entities_in({key: body[key] for key in body if key != "annotations"})}
    labels = {
        (kind.title(), name)
        for one in objects_in(body["conditions"])
        if isinstance(one.get("Value"), str)
        for kind, colon, name in (one["Value"].partition(":"),)
        if colon and kind in ("role", "group")
    }
    for kind, name in sorted(named | labels):
        known = world.entities.get(kind)
        if known is None and kind in world.named:
            often = [
                other for (its, other), times in mentioned.items() if its == kind and times > mentioned[kind, name]
            ]
            slips = [] if name in world.named[kind] else [o for o in (*world.named[kind], *often) if _slip(name, o)]
            known = slips or None
        if known is not None and name not in known:
            place = policy.find(name) or policy.find(f"{kind.lower()}:{name}") or policy.place
            message = f"no request has the {kind.lower()} {name!r}"
            yield Problem("SG201", message, place, tuple(known), nearest(name, known))


def _slip(one: str, other: str) -> bool:
    """Whether two names differ by one letter that is missing, wrong or swapped with the next."""
    if one == other or min(len(one), len(other)) < 5 or re.sub(r"\D", "", one) != re.sub(r"\D", "", other):
        return False
    start = next((at for at, pair in enumerate(zip(one, other, strict=False)) if len(set(pair)) == 2), len(one))
    first, second = one[start:], other[start:]
    return (
        first[1:] == second[1:]
        or first[1:] == second
        or first == second[1:]
        or (first[:2] == second[1::-1] and first[2:] == second[2:])
    )


def _unknown_values(policy: PolicyText, body: Mapping[str, Any], world: World) -> Iterator[Problem]:
    for part in objects_in(body["conditions"]):
        for operator, sides in part.items():
            if operator not in ("==", "!=", "contains", "containsAny", "containsAll"):
                continue
            left, right = sides["left"], sides["right"]
            for field, other in ((_field(left), right), (_field(right), left)):
                known = world.values.get(field)
                if known is None or not all(isinstance(value, str) for value in known):
                    continue
                for value in _constants(other):
                    if isinstance(value, str) and value not in known:
                        place = policy.find(value) or policy.place
                        named = tuple(str(one) for one in known if one)
                        message = f'{".".join(field)} {_NEVER.get(field[1], "is never")} "{value}"'
                        yield Problem("SG201", message, place, named, nearest(value, named))


_NEVER = {"data_classes": "never has"}


def _field(expression: dict[str, Any]) -> Field:
    """The attribute of a variable that an expression reads, such as ``context.hour``; else two empty names."""
    got: dict[str, Any] = expression.get(".", {})
    variable: str = got["left"].get("Var", "") if got else ""
    return (variable, got["attr"]) if variable else ("", "")


def _constants(expression: dict[str, Any]) -> list[Any]:
    return [one["Value"] for one in expression.get("Set", [expression]) if "Value" in one]


def _dead(policy: PolicyText, body: Mapping[str, Any], world: World) -> Iterator[Problem]:
    """The smallest conditions that hold for nothing, of what has to hold for the policy to apply."""
    clauses = [one["body"] if one["kind"] == "when" else {"!": {"arg": one["body"]}} for one in body["conditions"]]
    if not clauses:
        return
    whole = clauses[0]
    for clause in clauses[1:]:
        whole = {"&&": {"left": whole, "right": clause}}
    single = {field for field, values in world.values.items() if values and field[1] != "data_classes"}
    fields = sorted(single & {_field(part) for part in objects_in(whole)})
    while math.prod(len(world.values[field]) for field in fields) > _MOST_CASES:
        fields.remove(max(fields, key=lambda field: len(world.values[field])))
    outcomes: dict[int, set[Any]] = {}
    for case in product(*(world.values[field] for field in fields)):
        _evaluated(whole, dict(zip(fields, case, strict=True)), outcomes)
    for part in _smallest(whole, lambda one: outcomes.get(id(one)) == {False}):
        of = dict.fromkeys(field for one in objects_in(part) if (field := _field(one)) in fields)
        if of:
            first = next(iter(of))
            known = [f"{'.'.join(field)} is {_spelt(world, field)}" for field in of]
            message = f"{' and '.join('.'.join(field) for field in of)} can never be so"
            yield Problem("SG201", message, policy.find(first[1]), hint="; ".join(known))


def _spelt(world: World, field: Field) -> str:
    values = world.values[field]
    if isinstance(values[0], int):
        return f"{values[0]} to {values[-1]}" + (f", {world.zone}" if field[1] == "hour" else "")
    return "one of " + ", ".join(str(value) for value in values if value)


def _smallest(expression: Any, dead: Callable[[Any], bool]) -> Iterator[Any]:
    inner = [found for part in _children(expression) for found in _smallest(part, dead)]
    yield from inner or ([expression] if dead(expression) else [])


def _children(expression: Any) -> list[Any]:
    """The parts of an expression that are expressions."""
    (given,) = expression.values() if isinstance(expression, dict) and expression else (None,)  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    if isinstance(given, dict):
        parts = cast("dict[str, Any]", given)
        return [part for part in parts.values() if isinstance(part, dict) and len(cast("Any", part)) == 1]
    return cast("list[Any]", given) if isinstance(given, list) else []


def _evaluated(expression: Any, case: Mapping[Field, Any], outcomes: dict[int, set[Any]]) -> Any:
    """The value in one case, None for an unknown one; every condition in it is noted."""
    operator = next(iter(expression))
    parts = [_evaluated(part, case, outcomes) for part in _children(expression)]
    value = _value(operator, expression, parts, case)
    if operator in _BOOLEAN:
        outcomes.setdefault(id(expression), set()).add(value)
    return value


def _value(operator: str, expression: Any, parts: Sequence[Any], case: Mapping[Field, Any]) -> Any:
    given = expression[operator]
    if operator == "Value":
        return None if isinstance(given, dict) else given
    if operator == ".":
        return case.get(_field(expression))
    if operator == "Set":
        return None if None in parts else parts
    if operator in ("&&", "||"):
        decisive = operator == "||"
        return decisive if decisive in parts else None if None in parts else not decisive
    if operator == "if-then-else":
        condition, then, otherwise = parts
        return (then if condition else otherwise) if condition is not None else then if then == otherwise else None
    if None in parts or not parts:
        return None
    if operator == "!":
        return not parts[0]
    if operator == "contains" and isinstance(parts[0], list):
        return parts[1] in parts[0]
    if operator == "like":
        pattern = "".join(".*" if one == "Wildcard" else re.escape(one["Literal"]) for one in given["pattern"])
        return re.fullmatch(pattern, parts[0], re.DOTALL) is not None
    return _COMPARED[operator](*parts) if operator in _COMPARED and len(parts) == 2 else None
