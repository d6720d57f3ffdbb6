"""The numbers of a sentence with their units, however they are written.

The names of units are the lexicon's. One, spelt out, is `Quantity.weak`: in most languages it is an article too.
"""

import functools
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sluicegate.policies.guards.grounding.lexicon import WITHOUT_SPACES, lexicon
from sluicegate.policies.guards.grounding.numerals import (
    ARABIC_PREFIX,
    SIGNS,
    half_of_day,
    number,
    percent,
    says_hour,
    units,
)
from sluicegate.policies.guards.grounding.reversals import says_stance
from sluicegate.policies.guards.grounding.words import shared_start

__all__ = ["Quantities", "Quantity", "same", "scan"]

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400, "fortnight": 14 * 86400}
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_BEFORE_A_UNIT = frozenset({"of", "de", "une", "个", "個", "ヶ", "か", "カ"})
_CLOCK_HALVES = {"de": -0.5, "nl": -0.5, "en": 0.5}
"""What a half before an hour does to it: "halb acht" is half an hour before eight."""


@dataclass(frozen=True, slots=True)
class Quantity:
    value: float | str
    """Text for what is no plain number: a version, a network address."""
    unit: str = ""
    weak: bool = False
    """One, spelt out: perhaps an article."""


@dataclass(frozen=True, slots=True)
class Quantities:
    every: frozenset[Quantity]
    terms: frozenset[str]
    """Days and months, and units without a number."""
    rest: tuple[str, ...]
    """The words in order; a number with its unit stands as `#` and its value, one of `terms` as `@` and its name."""


def same(one: Quantity, other: Quantity) -> bool:
    """Whether two quantities say as much, in whatever unit; one without a unit fits every unit. Half is 50 percent."""
    if one.unit == "percent" or other.unit == "percent":
        share, part = (one, other) if one.unit == "percent" else (other, one)
        if not isinstance(share.value, str) and not part.unit and 0 < (fraction := _fraction(part.value)) < 1:
            return _close(share.value / 100, fraction)
    if isinstance(one.value, str) != isinstance(other.value, str) and 0 < _fraction(one.value) < 1:
        return _close(_fraction(one.value), _fraction(other.value))
    for scale in (_SECONDS, _MONTHS):
        if one.unit in scale and other.unit in scale and not isinstance(one.value, str):
            return not isinstance(other.value, str) and _close(
                one.value * scale[one.unit], other.value * scale[other.unit]
            )
    if not isinstance(one.value, str) and not isinstance(other.value, str):
        if not _close(one.value, other.value):
            return False
    elif one.value != other.value:
        return False
    return not one.unit or not other.unit or one.unit == other.unit


def _fraction(value: float | str) -> float:
    """The value of a number; that of "2/3", which may be a date as well. 0 where it is no number."""
    if not isinstance(value, str):
        return value
    above, _, below = value.partition("/")
    return float(above) / float(below) if above.isdigit() and below.isdigit() and float(below) else 0.0


def _close(one: float, other: float) -> bool:
    return abs(one - other) < 1e-6


def scan(words: Sequence[str], language: str) -> Quantities:
    """Take the quantities out of a sentence's words."""
    known = lexicon(language)
    found: list[Quantity] = []
    terms: set[str] = set()
    rest: list[str] = []
    at = 0
    while at < len(words):
        value, length, unit = number(words, at, language)
        hours, before = (0, 0) if length else half_of_day(words, at, language)
        if before:
            before += at + before < len(words) and says_hour(words[at + before], language)
            value, length, unit = number(words, at + before, language)
            if length and isinstance(value, float):
                value, length, unit = _clock(value, hours), before + length, "clock"
            else:
                length = 0
        if not length and says_hour(words[at], language) and at + 1 < len(words) and words[at + 1][0].isdigit():
            at += 1
            continue
        if not length:
            term, length = _term(words, at, language, known.terms, after_number=False)
            if term:
                terms.add(term)
                rest.append(f"@{term}")
            else:
                rest.append(words[at])
            at += max(length, 1)
            continue
        weak = value == 1 and not words[at][0].isdigit()
        at += length
        half = _CLOCK_HALVES.get(language)
        if value == 0.5 and half and at < len(words):
            skipped = 1 if words[at] in ("past", "nach") else 0
            hour, more, _ = number(words, at + skipped, language)
            if more and isinstance(hour, float) and hour >= 1 and (skipped or language != "en"):
                value, unit, at = hour + half, "clock", at + skipped + more
        value, unit, more = _measured(value, unit, words, at, language, known.terms)
        at += more
        found.append(Quantity(value, "" if unit == "clock" else unit, weak))
        rest.append(f"#{value if isinstance(value, str) else format(value, 'g')}")
    return Quantities(frozenset(found), frozenset(terms), tuple(rest))


def _clock(value: float, hours: int) -> float:
    """The hour of the day of a time in one of its halves."""
    return value + hours if value < 12 else value - 12 if not hours and value < 13 else value


def _measured(
    value: float | str, unit: str, words: Sequence[str], at: int, language: str, names: Mapping[str, str]
) -> tuple[float | str, str, int]:
    """A number with the unit, or half of the day, that follows it."""
    after = words[at] if at < len(words) else ""
    if more := percent(words, at, language):
        return value, "percent", more
    belongs_to_next = language == "tr" and words[at + 1 : at + 2] and words[at + 1][0].isdigit()
    if after in SIGNS and not belongs_to_next:
        return value, SIGNS[after], 1
    for between in (0, 1):
        hours, more = half_of_day(words, at + between, language)
        if more and isinstance(value, float) and (not between or unit == "hour" or says_hour(after, language)):
            return _clock(value, hours), "clock", between + more
    if unit or (language == "ar" and not after):
        return value, unit, 0
    for skipped in (0, 1):
        # "half an hour", "三个月"
        if skipped and after not in _BEFORE_A_UNIT and not (value == 0.5 and after in ("a", "an")):
            break
        term, length = _term(words, at + skipped, language, names, after_number=True)
        if (term and not term.endswith("day") | term.startswith("month-")) or term == "day":
            return value, term, skipped + length
    return value, "", int(says_hour(after, language))


def _term(
    words: Sequence[str], at: int, language: str, names: Mapping[str, str], *, after_number: bool
) -> tuple[str, int]:
    joint = "" if language in WITHOUT_SPACES else " "
    for length in (3, 2, 1):
        if at + length > len(words):
            continue
        word = joint.join(words[at : at + length])
        if language in WITHOUT_SPACES and len(word) < 2 and not after_number:
            return "", 0
        term = names.get(word) or units(language).get(word)
        if term is None and length == 1 and len(word) > 3 and not says_stance(word, language):
            term = _inflected(word, language)
        if term is None and language == "ko" and length == 1:
            term = next((names[word[:end]] for end in range(len(word) - 1, 0, -1)
                         if word[:end] in names and (end > 1 or after_number)), None)  # fmt: skip
        if term is None and language == "ar" and length == 1:
            term = names.get(ARABIC_PREFIX.sub("", word)) or names.get("ال" + ARABIC_PREFIX.sub("", word))
        if term:
            return term, length
    return "", 0


@functools.lru_cache(maxsize=4096)
def _inflected(word: str, language: str) -> str | None:
    """The term of which a word is another form: another ending, of at most three letters, on a stem of four or more."""
    names = lexicon(language).terms
    if language in ("zh", "ja", "ko"):
        return None
    best: tuple[int, str] | None = None
    for name, term in names.items():
        shared = shared_start(word, name)
        least = max(4, len(name) - 2)
        # a consonant that differs is no ending in Devanagari, where vowels count as signs of their own
        ending = language != "hi" or all(unicodedata.category(sign)[0] == "M" for sign in name[shared:])
        close = shared >= least and ending and len(word) - shared <= (4 if language == "tr" else 2)
        if close and (not best or shared > best[0]):
            best = shared, term
    return best[1] if best else None
