"""A checked CEL expression as a tree with offsets, read from the library's serialised form.

The library gives its tree only as bytes: a `cel.expr.CheckedExpr` message
(https://github.com/google/cel-spec/blob/master/proto/cel/expr/checked.proto), wrapped in a `google.protobuf.Any`. Only
what the checks of conditions need is read.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["Term", "parse_checked", "walk"]


@dataclass(frozen=True, slots=True)
class Term:
    """One part of an expression."""

    kind: str
    """``constant``, ``name``, ``call``, ``list``, ``member``, ``each`` or ``other``."""
    offset: int
    """Its offset in the text, in characters; for an operator, that of the operator itself."""
    name: str = ""
    """Of a name, a member of a map, a call's function, or the variable of ``list.exists(x, …)`` and its like; operators
    are ``_==_``, ``_&&_``, ``@in`` and so on."""
    value: Any = None
    """Of a constant: a text, a number, true or false; None for null, bytes and durations."""
    parts: tuple["Term", ...] = ()


def parse_checked(serialized: bytes) -> Term:
    """The tree of `Expression.serialize()`."""
    checked = _one(serialized, 2)
    offsets: dict[int, int] = {}
    for entry in _all(_one(checked, 5), 4):
        pair = dict(_read(entry))
        offsets[pair.get(1, 0)] = pair.get(2, 0)
    return _term(_one(checked, 4), offsets)


def walk(term: Term) -> Iterator[Term]:
    """The term and everything in it."""
    yield term
    for part in term.parts:
        yield from walk(part)


def _term(data: bytes, offsets: dict[int, int]) -> Term:
    content = dict(_read(data))
    offset = offsets.get(content.get(2, 0), 0)
    if 3 in content:
        return Term("constant", offset, value=_constant(content[3]))
    if 4 in content:
        return Term("name", offset, _one(content[4], 1).decode())
    if 6 in content:
        call = content[6]
        parts = (*_all(call, 1), *_all(call, 3))
        return Term("call", offset, _one(call, 2).decode(), parts=tuple(_term(part, offsets) for part in parts))
    if 7 in content:
        return Term("list", offset, parts=tuple(_term(part, offsets) for part in _all(content[7], 1)))
    inside = tuple(_term(part, offsets) for part in _inside(content))
    if 5 in content:
        return Term("member", offset, _one(content[5], 2).decode(), parts=inside)
    if 9 in content:
        return Term("each", offset, _one(content[9], 1).decode(), parts=inside)
    return Term("other", offset, parts=inside)


def _constant(data: bytes) -> Any:
    """`cel.expr.Constant`, one of its fields."""
    number, value = next(_read(data), (0, None))
    if number == 2:
        return bool(value)
    if number == 3 and value is not None:
        return value - (1 << 64) if value >> 63 else value
    if number == 6:
        return value.decode() if value else ""
    return value if number in (4, 5) else None


def _inside(content: dict[int, Any]) -> list[bytes]:
    """The expressions in a select, a map or a comprehension."""
    if 5 in content:
        return _all(content[5], 1)
    if 8 in content:
        return [part for entry in _all(content[8], 2) for number in (3, 4) for part in _all(entry, number)]
    return [part for number in (2, 4, 5, 6, 7) for part in _all(content.get(9, b""), number)]


def _all(data: bytes, number: int) -> list[bytes]:
    return [value for found, value in _read(data) if found == number]


def _one(data: bytes, number: int) -> bytes:
    found = _all(data, number)
    return found[0] if found else b""


def _read(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a message in protocol buffer wire format: number and integer, float or bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
        elif wire == 2:
            size, at = _varint(data, at)
            yield number, data[at : at + size]
            at += size
        else:
            size, form = (8, "<d") if wire == 1 else (4, "<f")
            yield number, struct.unpack_from(form, data, at)[0]
            at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
