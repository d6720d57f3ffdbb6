"""One number where it starts in a sentence: digits of any script, words, ordinals, numerals, parts and multiples."""

import functools
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

import regex
import yaml

from sluicegate.policies.guards.grounding.lexicon import WITHOUT_SPACES, folded, lexicon

__all__ = ["ARABIC_PREFIX", "SIGNS", "half_of_day", "number", "percent", "says_hour", "units"]

SIGNS = {"%": "percent", "€": "EUR", "$": "USD", "£": "GBP", "¥": "JPY", "₹": "INR", "₽": "RUB"}
_COMMA_IS_DECIMAL = frozenset({"de", "es", "fr", "it", "nl", "pl", "pt", "ru", "tr"})
_CJK = regex.compile(r"[〇零一二三四五六七八九十百千万亿億两兩]+")
_CJK_VALUES = {
    **{sign: float(value) for value, sign in enumerate("零一二三四五六七八九")},
    "〇": 0.0, "两": 2.0, "兩": 2.0, "十": 10.0, "百": 100.0, "千": 1e3, "万": 1e4, "亿": 1e8, "億": 1e8,
}  # fmt: skip
_SINO = regex.compile(
    r"([일이삼사오육칠팔구십백천만]+)(층|시간|시|분|초|일|월|년|원|회|명|개월|개|호|번|주|배|장|대|권|페이지|퍼센트|킬로|미터)"
)
_SINO_VALUES = {
    **{sign: float(value) for value, sign in enumerate("일이삼사오육칠팔구", start=1)},
    "십": 10.0, "백": 100.0, "천": 1e3, "만": 1e4,
}  # fmt: skip
_COMPOUND = regex.compile(
    r"^(.+?)(?:mal|fach\w*|tägig\w*|stündig\w*|stündlich\w*|minütig\w*|wöchig\w*|monatig\w*|jährig\w*"
    r"|maal|voudig\w*|krotnie|krotny|кратно)$"
)
_TURKISH_CASE = regex.compile(r"^(üç|.{3,}?)(?:[dt][ae]n?|[yn]?[ıiuüae]|[yn]?[ae]|nc[ıiuü]|s[ıiuü]n?[ıiuü]?)$")
_TURKISH_OF = regex.compile(r"'?.+[dt][ae]$")
ARABIC_PREFIX = regex.compile(r"^(?:[وفبلك]?ال|لل|[وفبلك])")
_PARTED = {"zh": ("分", "之"), "ja": ("分", "の"), "ko": ("분의",)}
"""What stands between the parts there are and those that are meant: "三分之二" is two thirds."""
_AND = {"en": "and", "es": "y", "pt": "e", "de": "und", "nl": "en", "it": "e", "fr": "et", "ar": "و"}


def number(words: Sequence[str], at: int, language: str) -> tuple[float | str, int, str]:
    """The number that starts at a word, how many words it takes (0: none), and its unit where the words hold one.

    The value is text for what is no plain number, such as a version or a network address.
    """
    value, length, unit = _whole(words, at, language)
    parted = _PARTED.get(language, ())
    if isinstance(value, float) and length and value > 1 and not unit:
        after = at + length
        if (parted and tuple(words[after : after + len(parted)]) == parted) or (
            language == "tr" and _TURKISH_OF.match(words[after - 1])
        ):
            part, more, _ = _whole(words, after + len(parted), language)
            if isinstance(part, float) and more and part < value:
                return part / value, length + len(parted) + more, ""
        parts = _parts(language).get(words[after] if after < len(words) else "", 0)
        if value < parts:
            return value / parts, length + 1, ""
    return value, length, unit


def _whole(words: Sequence[str], at: int, language: str) -> tuple[float | str, int, str]:
    if at >= len(words):
        return 0.0, 0, ""
    spelt = lexicon(language).numbers
    if before := percent(words, at, language):
        value, length, _ = _whole(words, at + before, language)
        if length:
            return value, before + length, "percent"
    word = words[at]
    if word in SIGNS and at + 1 < len(words) and words[at + 1][0].isdigit() and (word != "%" or language == "tr"):
        return _digits(words[at + 1], language), 2, SIGNS[word]
    if word[0].isdigit():
        value: float | str = _digits(word, language)
        length = 1
        factor = _spelt(words, at + 1, language, spelt)
        if isinstance(value, float) and factor[1] and factor[0] >= 1000:
            return value * factor[0], 1 + factor[1], ""
        if at + 1 < len(words) and words[at + 1] in (
            "st",
            "nd",
            "rd",
            "th",
            "º",
            "ª",
            "er",
            "ème",
            "й",
            "я",
            "е",
            "го",
        ):
            length = 2
        return value, length, ""
    phrase, taken = _phrase_at(words, at, language, _others(language), 2)
    if taken:
        other = _others(language)[phrase]
        return (other[0], taken, other[1]) if isinstance(other, tuple) else (float(other), taken, "")
    if language in WITHOUT_SPACES:
        return _cjk(words, at)
    if language == "ko":
        return _korean(words, at, spelt)
    value, length = _spelt(words, at, language, spelt)
    return value, length, ""


def percent(words: Sequence[str], at: int, language: str) -> int:
    """How many words from here say percent."""
    return _phrase_at(words, at, language, _percents(language), 3)[1]


def half_of_day(words: Sequence[str], at: int, language: str) -> tuple[int, int]:
    """How many hours the words from here add to a time of the clock, and how many words that are (0: none)."""
    phrase, length = _phrase_at(words, at, language, _halves(language), 4)
    return _halves(language).get(phrase, 0), length


def says_hour(word: str, language: str) -> bool:
    """Whether a word may stand between a time of the clock and its half of the day: "6 Uhr abends"."""
    return word in _hours(language)


def _phrase_at(words: Sequence[str], at: int, language: str, known: Container[str], most: int) -> tuple[str, int]:
    """The longest phrase from here of at most so many words that is known, and how many it has (0: none)."""
    for length in range(min(most, len(words) - at), 0, -1):
        if (phrase := _phrase(words[at : at + length], language)) in known:
            return phrase, length
    return "", 0


def _phrase(words: Sequence[str], language: str) -> str:
    return ("" if language in WITHOUT_SPACES else " ").join(words)


@functools.cache
def _halves(language: str) -> dict[str, int]:
    word = r"[\p{L}\p{M}]" if language == "zh" else r"[\p{L}\p{M}]+(?:'[\p{L}\p{M}]+)*"
    return {
        _phrase(regex.findall(word, said), language): hours
        for half, hours in (("am", 0), ("pm", 12))
        for said in _said(language, half)
    }


@functools.cache
def _hours(language: str) -> frozenset[str]:
    return frozenset(_said(language, "hour"))


def _said(language: str, what: str) -> list[str]:
    """The words and phrases that are listed for it."""
    return [folded(phrase) for phrase in _listed()[language][what].split("|")]


@functools.cache
def _listed() -> Mapping[str, Mapping[str, str]]:
    return yaml.safe_load(Path(__file__).with_name("numbers.yaml").read_text(encoding="utf-8"))


@functools.cache
def _percents(language: str) -> frozenset[str]:
    return frozenset(_said(language, "percent"))


@functools.cache
def _parts(language: str) -> dict[str, int]:
    """The words for parts of which there may be several, as in "two thirds"."""
    return {word: int(what[1:]) for what in _listed()[language] if what[0] == "/" for word in _said(language, what)}


@functools.cache
def units(language: str) -> dict[str, str]:
    """The names of units that CLDR has under another name."""
    named = [what for what in _listed()[language] if what.startswith("unit ")]
    return {word: what.removeprefix("unit ") for what in named for word in _said(language, what)}


@functools.cache
def _others(language: str) -> dict[str, float | tuple[float, str]]:
    found: dict[str, float | tuple[float, str]] = {}
    for what in _listed()[language]:
        if what[0].isdigit():
            number, _, unit = what.partition(" ")
            for word in _said(language, what):
                found[word] = (float(number), unit) if unit else float(number)
    return found


def _digits(word: str, language: str) -> float | str:
    if ":" in word:
        hours, _, minutes = word.partition(":")
        return float(hours) + float(minutes) / 60 if minutes.isdigit() and len(minutes) == 2 else word
    if "/" in word or "⁄" in word:
        parts = regex.split("[/⁄]", word)
        return float(parts[0]) / float(parts[1]) if len(parts) == 2 and "⁄" in word and float(parts[1]) else word
    marks = [mark for mark in word if mark in ".,"]
    if not marks:
        return float(word)
    if len(set(marks)) == 1:
        groups = word.split(marks[0])
        thousands = all(len(group) == 3 for group in groups[1:]) and len(groups[0]) <= 3 and groups[0] != "0"
        decimal = "," if language in _COMMA_IS_DECIMAL else "."
        if thousands and (len(marks) > 1 or marks[0] != decimal):
            return float("".join(groups))
        return float(".".join(groups)) if len(marks) == 1 else word
    whole, _, part = word.rpartition(marks[-1])
    return float(f"{regex.sub('[.,]', '', whole)}.{part}") if marks.count(marks[-1]) == 1 else word


def _spelt(words: Sequence[str], at: int, language: str, spelt: Mapping[str, float]) -> tuple[float, int]:
    """A number in words, put together of those below a hundred and the round ones."""
    total = current = 0.0
    length = 0
    while True:
        step = 1 if length and at + length < len(words) and words[at + length] == _AND.get(language) else 0
        value, more = _longest(words, at + length + step, language, spelt)
        if not more or (step and not (current >= 100 and value < 100)):
            break
        if not length:
            current = value
        elif value >= 1000 and not step and current < value:
            total, current = total + max(current, 1) * value, 0.0
        elif value == 100 and current < 10 and not step:
            current *= 100
        elif (current >= 100 and value < 100) or (not current and value < 1000):
            current += value
        else:
            break
        length += step + more
    return total + current, length


def _longest(words: Sequence[str], at: int, language: str, spelt: Mapping[str, float]) -> tuple[float, int]:
    phrase, length = _phrase_at(words, at, language, spelt, 5)
    if length:
        return spelt[phrase], length
    if at >= len(words):
        return 0.0, 0
    word = words[at]
    if language in ("de", "nl", "pl", "ru") and (compound := _COMPOUND.match(word)) and compound[1] in spelt:
        return spelt[compound[1]], 1
    if language == "tr" and (case := _TURKISH_CASE.match(word)) and case[1] in spelt:
        return spelt[case[1]], 1
    if language == "ar":
        bare = ARABIC_PREFIX.sub("", word)
        for form in (bare, f"ال{bare}", f"{bare}ة"):
            if form in spelt:
                return spelt[form], 1
    return 0.0, 0


def _signs(signs: str, values: Mapping[str, float]) -> float:
    """The value of numerals written by tens, hundreds and myriads, or sign by sign as digits."""
    if len(signs) > 1 and all(values[sign] < 10 for sign in signs):
        return float("".join(str(int(values[sign])) for sign in signs))
    total = section = digit = 0.0
    for sign in signs:
        value = values[sign]
        if value < 10:
            digit = value
        elif value < 1e4:
            section, digit = section + (digit or 1) * value, 0.0
        else:
            total, section, digit = total + (section + digit or 1) * value, 0.0, 0.0
    return total + section + digit


def _cjk(words: Sequence[str], at: int) -> tuple[float, int, str]:
    end = at
    while end < len(words) and _CJK.fullmatch(words[end]):
        end += 1
    if end == at:
        return 0.0, 0, ""
    value = _signs("".join(words[at:end]), _CJK_VALUES)
    # "三点半", "7時半"
    return value, end - at, ""


def _korean(words: Sequence[str], at: int, spelt: Mapping[str, float]) -> tuple[float, int, str]:
    word = words[at]
    if counted := _SINO.match(word):
        names = lexicon("ko").terms
        return _signs(counted[1], _SINO_VALUES), 1, names.get(counted[2], "")
    phrase = " ".join(words[at : at + 2])
    if phrase in spelt:
        return spelt[phrase], 2, ""
    following = words[at + 1] if at + 1 < len(words) else ""
    single = word in "일이삼사오육칠팔구만" and not _SINO.match(word + following[:2])
    if word in spelt and not single:
        return spelt[word], 1, ""
    # a number with its particle or counter: "아홉시", "셋째는"
    for end in range(len(word) - 1, 1, -1):
        if word[:end] in spelt and word[:end] != "만":
            return spelt[word[:end]], 1, ""
    attached = regex.match(r"(한|두|세|네)(시간|시|번|명|개|달|주|장|대|배)", word)
    return (spelt[attached[1]], 1, lexicon("ko").terms.get(attached[2], "")) if attached else (0.0, 0, "")
