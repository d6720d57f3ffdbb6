"""Values from models, tools and plug-ins as plain data that every part of a run can hold.

JSON allows what a checkpoint, a database or a condition cannot take: whole numbers of any size, halves of surrogate
pairs, nesting and texts without end. Each is replaced where it is written into the state, and what was replaced is
said in the trail.
"""

import math
from collections.abc import Mapping
from typing import Any, TypeVar, cast

__all__ = ["MAX_DEPTH", "MAX_TEXT", "MAX_TEXTS", "MAX_VALUES", "plain"]

MAX_TEXT = 200_000
"""Characters of one text; as much as a request may have."""
MAX_TEXTS = 1_000_000
"""Characters of all texts of one value."""
MAX_DEPTH = 32
MAX_VALUES = 20_000
_SHORT = 100
"""Characters that every text may have, so that names and statuses stay whole beside texts that use up the rest."""
_OWN_DEPTH, _OWN_KEYS = 3, 64
"""Maps so far out, and so many of their keys, are the state's own shape: they are kept whatever else is left out."""

T = TypeVar("T")

_BITS = 10_000
"""Python writes no longer whole number as decimal digits."""


def plain(value: Any, path: str = "") -> tuple[Any, list[str]]:
    """The value as plain data, and what was replaced in it; `path` is its name there. The result is plain itself."""
    cleaner = _Cleaner()
    return cleaner.clean(value, path, 0), list(dict.fromkeys(cleaner.notes))


class _Cleaner:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self._values, self._texts = MAX_VALUES, MAX_TEXTS

    def clean(self, value: Any, path: str, depth: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, int):
            return self._whole(int(value), path)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else self._note(None, f"{value} became null", path)
        if isinstance(value, Mapping | list | tuple):
            if depth >= MAX_DEPTH:
                return self._note(None, f"what is nested deeper than {MAX_DEPTH} levels became null", path)
            if isinstance(value, Mapping):
                return self._map(cast("Mapping[Any, Any]", value), path, depth)
            return self._list(cast("list[Any]", value), path, depth)
        return self._note(self._text(str(value), path), f"{type(value).__name__} became text", path)

    def _map(self, value: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for number, (key, part) in enumerate(value.items()):
            if not (depth < _OWN_DEPTH and number < _OWN_KEYS) and not self._room(path):
                break
            name = self._text(key if isinstance(key, str) else str(key), path)
            found[name] = self.clean(part, f"{path}.{name[:60]}".lstrip("."), depth + 1)
        return found

    def _list(self, value: list[Any] | tuple[Any, ...], path: str, depth: int) -> list[Any]:
        found: list[Any] = []
        for part in value:
            if not self._room(path):
                break
            found.append(self.clean(part, path, depth + 1))
        return found

    def _room(self, path: str) -> bool:
        self._values -= 1
        return self._values >= 0 or self._note(False, f"more than {MAX_VALUES:,} values: the rest was left out", path)

    def _whole(self, value: int, path: str) -> int | str:
        if -(2**63) <= value < 2**63:
            return value
        bits = value.bit_length()
        text = str(value) if bits <= _BITS else f"a whole number of {bits} bits"
        return self._note(text, "a whole number beyond 64 bits became text", path)

    def _text(self, value: str, path: str) -> str:
        text = str(value)
        limit = max(_SHORT, min(MAX_TEXT, self._texts))
        if len(text) > limit:
            text = self._note(text[:limit], f"a text of {len(text):,} characters was cut to {limit:,}", path)
        self._texts -= len(text)
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            return self._note(text, "half a surrogate pair became U+FFFD", path)
        return text

    def _note(self, value: T, what: str, path: str) -> T:
        self.notes.append(f"{path}: {what}" if path else what)
        return value
