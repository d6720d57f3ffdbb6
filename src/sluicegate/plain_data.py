"""Values from models, tools and plug-ins, and the words of people, as plain data that every part of a run can hold.

JSON allows what a checkpoint, a database or a condition cannot take: whole numbers of any size, halves of surrogate
pairs, nesting and texts without end. Each is replaced where it is written into the state, and what was replaced is
said in the trail.
"""

import codecs
import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from sluicegate.errors import RunError

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_TEXT",
    "MAX_TEXTS",
    "MAX_VALUES",
    "VISIBLE",
    "clean",
    "cleaned",
    "plain",
    "printable",
]

MAX_BYTES = 200_000
"""The largest request, in UTF-8 bytes; longer material is a document to ingest, not a request."""

_CONTROL_CLASS = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
_CONTROL = re.compile(f"[{_CONTROL_CLASS}]")
VISIBLE = rf"[^\s{_CONTROL_CLASS}]"
"""A regular expression, also by ECMA's rules: what a text needs one of so that something is left of it."""
_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}

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


def printable(text: str) -> str:
    """Without control characters and marks that turn the direction of text, which hide what others are shown."""
    return _CONTROL.sub("", text)


def clean(raw: str | bytes) -> tuple[str, list[str]]:
    """The text, and what was changed in it.

    Raises `RunError` SG601 (nothing left), SG602 (larger than `MAX_BYTES`).
    """
    changed: list[str] = []
    if isinstance(raw, bytes):
        raw = _decoded(raw, changed)
    if len(raw.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise RunError(
            "SG602",
            f"the request has more than {MAX_BYTES:,} bytes",
            hint="Ask about part of it, or ingest it as a document",
        )
    text = cleaned(raw, changed).strip()
    if not text:
        raise RunError("SG601", "the request is empty", hint="Describe what you need")
    return text, changed


def cleaned(raw: str, changed: list[str]) -> str:
    """What is left of a text, also when that is nothing; what was changed in it is noted."""
    text = raw.replace("\r\n", "\n").replace("\r", "\n")
    if any(0xD800 <= ord(letter) <= 0xDFFF for letter in text):
        text = text.encode("utf-8", "replace").decode("utf-8")
        changed.append("encoding")
    if (composed := unicodedata.normalize("NFC", text)) != text:
        text = composed
        changed.append("nfc")
    if (bare := printable(text)) != text:
        text = bare
        changed.append("control-characters")
    return text


def _decoded(raw: bytes, changed: list[str]) -> str:
    if len(raw) > 4 * MAX_BYTES:
        raise RunError("SG602", f"the request has more than {MAX_BYTES:,} bytes", hint="Ask about part of it")
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if raw.startswith(mark):
            changed.append("encoding")
            return raw.decode(encoding, "replace")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", "replace")
        if "\0" in text or len(_CONTROL.findall(text)) + text.count("\ufffd") > len(text) / 20:
            raise RunError("SG601", "the request is not text", hint="Send it as text, in UTF-8") from None
        changed.append("encoding")
        return text
