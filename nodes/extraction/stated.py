"""Whether a request states a value: the rule that keeps an extraction from inventing.

A value is stated when it stands in the request, whatever its case, accents, spacing and punctuation; a number also in
another format or as a word, a day also in another format or relative to the day of receipt. A workflow declares what
else may be taken for stated (`Rule`). Values that are not are left out, each with the reason.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any, Literal, TypeAlias, cast

from sluicegate.models.structured import misfit
from sluicegate.nodes.extraction.dates import days_in
from sluicegate.nodes.extraction.numbers import SPELT, numbers_in
from sluicegate.policies.guards.detectors.folding import folded

__all__ = ["REWORDED", "RequestText", "Rule", "received_on", "stated"]

Rule: TypeAlias = Literal["stated", "reworded", "derived"] | Mapping[str, Sequence[str]]
"""How a field may follow from the request: ``stated``, it stands there; ``reworded``, it is made of its words;
``derived``, the model decides, as on a category; a mapping gives words for each value, any of which states it."""

REWORDED = 0.5
"""Share of a reworded text's words that must stand in the request."""

_UNSPACED = "\u0e00-\u0eff\u1000-\u11ff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
"""Scripts that put no spaces between words, Hangul with its particles among them: each sign is a token."""
_TOKEN = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_APART = re.compile(r"[,;.]\s|\n")
"""Between two numbers: they are not one."""
_NUMBER = re.compile(r"[-+−]?[\d.,'’\s]*\d[\d.,'’\s]*")
_MOMENT = re.compile(r"(\d{4}-\d{2}-\d{2})[T ](\d{2}):(\d{2})(?::00(?:\.0+)?)?(?:Z|[+-]\d{2}:?\d{2})?")
_SHARED = 0.6
"""Share of the longer of two words that they must have in common, from their beginning, to be forms of one."""


@dataclass(frozen=True)
class RequestText:
    """A request's text, read for what it states."""

    text: str
    received: date

    @cached_property
    def _parts(self) -> "_Parts":
        return _parts(self.text)

    @cached_property
    def numbers(self) -> set[Decimal]:
        return numbers_in(unicodedata.normalize("NFKC", self.text))

    @cached_property
    def days(self) -> set[date]:
        return days_in(unicodedata.normalize("NFKC", self.text), self.received)

    def has(self, value: str) -> bool:
        """Whether a text stands here, from the beginning of a word to the end of one."""
        wanted, here = _parts(value), self._parts
        if not wanted.joined:
            return value.strip() in self.text
        at = here.joined.find(wanted.joined)
        while at >= 0:
            end = at + len(wanted.joined)
            apart = {edge - at for edge in here.apart if at < edge < end}
            if at in here.edges and end in here.edges and apart <= wanted.edges:
                return True
            at = here.joined.find(wanted.joined, at + 1)
        return False

    def number(self, value: float) -> bool:
        try:
            return Decimal(str(value)) in self.numbers
        except InvalidOperation:
            return False

    def day(self, value: str) -> bool:
        """Whether a text that is a date, with or without a time, means a day that is stated here."""
        moment = _MOMENT.fullmatch(value.strip())
        meant = days_in(moment[1] if moment else value, self.received)
        rest = re.sub(r"[\d\W]+", "", value)
        if not meant & self.days or (len(meant) > 2 and not moment) or len(rest) > 12:
            return False
        return moment is None or _time_stands(int(moment[2]), int(moment[3]), self.text)

    def reworded(self, value: str) -> bool:
        """Whether a text is made of this one's words, and has no number of its own."""
        if self.has(value):
            return True
        tokens = _parts(value).tokens
        if any(any(sign.isdigit() for sign in token) and not self._counted(token) for token in tokens):
            return False
        words = [token for token in tokens if token.isalpha() and (len(token) > 2 or re.match(f"[{_UNSPACED}]", token))]
        held = sum(any(_forms_of_one(word, other) for other in set(self._parts.tokens)) for word in words)
        return bool(words) and held >= REWORDED * len(words)

    def _counted(self, token: str) -> bool:
        return token in self._parts.tokens or (token.isdigit() and Decimal(token) in self.numbers)


@dataclass(frozen=True, slots=True)
class _Parts:
    tokens: tuple[str, ...]
    joined: str
    edges: frozenset[int]
    """Where in `joined` a token begins or ends."""
    apart: frozenset[int]
    """Of these, where two numbers meet that are not one."""


def stated(
    fields: Mapping[str, Any], schema: Mapping[str, Any], request: RequestText, rules: Mapping[str, Rule]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The fields with what the request states of each, and what was left out, by the name or path of each value, with
    the reason. A field of which nothing is left, or too little for its schema, is left out whole."""
    properties: Mapping[str, Any] = schema.get("properties", {})
    kept: dict[str, Any] = {}
    dropped: dict[str, str] = {}
    for name, value in fields.items():
        rule, its = rules.get(name, "stated"), cast("Mapping[str, Any]", properties.get(name, {}))
        faults: dict[str, str] = {}
        left = value if rule == "derived" or _follows(value, its) else _left(value, name, rule, request, faults)
        dropped |= faults
        if not faults or (left not in ({}, [], None) and _fits(left, its, schema)):
            kept[name] = left
    return kept, dropped


def _left(value: Any, path: str, rule: Rule, request: RequestText, faults: dict[str, str]) -> Any:
    """What the request states of a value, at any depth; None for nothing of it."""
    if isinstance(value, Mapping):
        parts = cast("Mapping[str, Any]", value)
        inner = {key: _left(part, f"{path}.{key}", rule, request, faults) for key, part in parts.items()}
        return {key: part for key, part in inner.items() if f"{path}.{key}" not in faults}
    if isinstance(value, list):
        items = cast("Sequence[Any]", value)
        inner = [_left(part, f"{path}.{number}", rule, request, faults) for number, part in enumerate(items)]
        return [part for number, part in enumerate(inner) if f"{path}.{number}" not in faults and part not in ({}, [])]
    if value is None or value == "" or _stands(value, rule, request):
        return value
    what = "too few of its words stand" if rule == "reworded" else "it does not stand"
    faults[path] = f"{what} in the request"
    return None


def _stands(value: Any, rule: Rule, request: RequestText) -> bool:
    if isinstance(rule, Mapping):
        words = rule.get(str(value).lower() if isinstance(value, bool) else str(value), ())
        if any(request.has(word) for word in words):
            return True
    if isinstance(value, bool):
        return False
    if isinstance(value, (int, float)):
        return request.number(value)
    text = str(value)
    if rule == "reworded" and request.reworded(text):
        return True
    return request.has(text) or _same_number(text, request) or request.day(text)


def _same_number(text: str, request: RequestText) -> bool:
    known = text.casefold() in SPELT or _NUMBER.fullmatch(text.strip())
    return bool(known) and bool(numbers_in(text) & request.numbers)


def _follows(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a value follows from the schema alone: its default, or the only one there is."""
    only = schema.get("enum", [schema["const"]] if "const" in schema else [])
    return ("default" in schema and value == schema["default"]) or only == [value]


def _fits(value: Any, schema: Mapping[str, Any], whole: Mapping[str, Any]) -> bool:
    return not misfit(value, {"$defs": whole.get("$defs", {}), **schema})


def _parts(text: str) -> _Parts:
    # case first: one letter may be two in capitals, and lose one of them with its accents
    flat = folded(unicodedata.normalize("NFKC", text).casefold())
    found = list(_TOKEN.finditer(flat))
    edges, apart, at = {0}, set[int](), 0
    for before, match in zip([None, *found], found, strict=False):
        numbers = before is not None and before[0][-1].isdigit() and match[0][0].isdigit()
        if before is not None and numbers and _APART.search(flat, before.end(), match.start()):
            apart.add(at)
        at += len(match[0])
        edges.add(at)
    tokens = tuple(match[0] for match in found)
    return _Parts(tokens, "".join(tokens), frozenset(edges), frozenset(apart))


def _forms_of_one(word: str, other: str) -> bool:
    if word == other:
        return True
    same = 0
    for one, two in zip(word, other, strict=False):
        if one != two:
            break
        same += 1
    return same >= 4 and same >= _SHARED * max(len(word), len(other))


def _time_stands(hour: int, minute: int, text: str) -> bool:
    if (hour, minute) == (0, 0):
        return True
    minutes = rf"[:.h]{minute:02d}" if minute else r"(?:[:.h]00)?"
    half = "am" if hour < 12 else "pm"
    spoken = rf"0?{hour % 12 or 12}{minutes}\s?{half[0]}\.?m\b"
    return bool(re.search(rf"(?<!\d)0?{hour}{minutes}\s?(?:h\b|uhr|o['’]clock|:|$|\b)|{spoken}", text.casefold()))


def received_on(at: str) -> date:
    """The day of a request, from its ISO time."""
    return datetime.fromisoformat(at).date()
