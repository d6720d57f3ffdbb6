"""Values that stand for all the others: what the proofs enumerate for a field.

A condition that only compares a field with constants cannot tell apart two values on the same side of each of them. So
the constants and one value from each interval between them stand for every number: ``x < 0.5`` and ``x >= 0.5`` are
opposites. Of numbers that are compared with each other, each interval gives as many values as there are fields, which
realises every order that they can have. A text is one of the constants or none of them; a list of texts has any of
those that are looked for in it.

A field that some condition reads in another way (a sum, a function, a macro) has no such values here, and stays
unknown, unless all its values can be listed.
"""

import itertools
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sluicegate.graphs.conditions.conditions import Condition
from sluicegate.graphs.conditions.expression import Term
from sluicegate.graphs.conditions.fields import fields

__all__ = ["regions"]

MAX_TOGETHER = 3
"""Fields that are compared with each other; more stay unknown, since their orders multiply."""
MAX_MEMBERS = 4
"""Texts that are looked for in one list; their subsets multiply."""

_EQUAL = frozenset({"_==_", "_!=_"})
_ORDERED = frozenset({"_<_", "_<=_", "_>_", "_>=_"})


@dataclass(slots=True)
class _Use:
    """How the conditions read one field."""

    constants: set[Any] = field(default_factory=set[Any])
    others: set[str] = field(default_factory=set[str])
    """Fields that it is compared with."""
    understood: bool = True


def regions(conditions: Iterable[Condition]) -> dict[str, tuple[object, ...]]:
    """The values that stand for all others, of each field for which there are such; only fields that are read."""
    uses: dict[str, _Use] = {}
    for condition in conditions:
        for name in condition.fields:
            uses.setdefault(name, _Use())
        _read(condition.tree, uses)
    known, found = fields(), dict[str, tuple[object, ...]]()
    for name, use in uses.items():
        shape = known[name]
        if shape.type == "bool":
            found[name] = (True, False)
        elif shape.choices:
            found[name] = shape.choices
        elif shape.type == "string" and use.understood and not use.others:
            found[name] = _texts(use.constants)
        elif shape.type == "list(string)" and use.understood and len(use.constants) <= MAX_MEMBERS:
            members = sorted(map(str, use.constants))
            sizes = range(len(members) + 1)
            found[name] = tuple([*some] for size in sizes for some in itertools.combinations(members, size))
        elif shape.type in ("int", "double"):
            together = _together(name, uses)
            if len(together) <= MAX_TOGETHER and all(uses[one].understood for one in together):
                constants: list[Any] = sorted({value for one in together for value in uses[one].constants})
                values = _whole if shape.type == "int" else _numbers
                found[name] = tuple(values(constants, len(together)))
    return found


def _read(term: Term, uses: dict[str, _Use]) -> None:
    """Note each use of a field in a term; one read by itself, or in a way not listed here, is not understood."""
    if term.kind == "name" and term.name in uses:
        uses[term.name].understood = False
    elif term.kind == "call" and len(term.parts) == 2 and term.name in _EQUAL | _ORDERED | {"@in"}:
        left, right = term.parts
        if not _compared(term.name, left, right, uses) and not _compared(term.name, right, left, uses):
            _read(left, uses)
            _read(right, uses)
    else:
        for part in term.parts:
            _read(part, uses)


def _compared(operator: str, name: Term, other: Term, uses: dict[str, _Use]) -> bool:
    """Note a comparison of a field with constants or with another number."""
    if name.kind != "name" or name.name not in uses:
        return False
    kind, use = fields()[name.name].type, uses[name.name]
    # tags.found is unknown to one condition and known to another: to whoever tests what was not looked for
    if operator == "@in" and kind == "list(string)" and name.name != "tags.found":
        return _take(use, [other])
    if operator == "@in":
        return other.kind == "list" and kind != "list(string)" and _take(use, other.parts)
    if other.kind == "name" and other.name in uses and kind == fields()[other.name].type and kind in ("int", "double"):
        use.others.add(other.name)
        uses[other.name].others.add(name.name)
        return True
    return (operator in _EQUAL or kind != "string") and _take(use, [other])


def _take(use: _Use, terms: Sequence[Term]) -> bool:
    # null, bytes and durations have no value here
    if any(term.kind != "constant" or term.value is None for term in terms):
        return False
    use.constants |= {term.value for term in terms}
    return True


def _together(name: str, uses: dict[str, _Use]) -> set[str]:
    found, waiting = {name}, [name]
    while waiting:
        new = uses[waiting.pop()].others - found
        found |= new
        waiting += new
    return found


def _texts(constants: Iterable[Any]) -> tuple[str, ...]:
    texts = sorted(map(str, constants))
    return (*texts, max(texts, key=len, default="") + "?")


def _numbers(constants: Sequence[float], count: int) -> list[float]:
    """Each constant, and `count` values below, between and above them, as far as there are so many."""
    largest = sys.float_info.max
    found = [*constants]
    for low, high in itertools.pairwise((-largest, *constants, largest)):
        shares = [step / (count + 1) for step in range(1, count + 1)]
        inside = {value for share in shares if low < (value := low * (1 - share) + high * share) < high}
        value = low
        while len(inside) < count and (value := math.nextafter(value, high)) < high:
            inside.add(value)
        found += inside
    return sorted(found)


def _whole(constants: Sequence[int], count: int) -> list[int]:
    """The same for whole numbers of 64 bits."""
    near = {value + step for value in constants or (0,) for step in range(-count, count + 1)}
    return sorted(value for value in near if -(2**63) <= value < 2**63)
