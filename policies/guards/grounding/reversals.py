"""What turns a sentence round or limits it: negation, must and may, bounds, before and after, opposite affixes.

The words of each language are in `reversals.yaml`, for who speaks it to read and mend.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import regex
import yaml

from sluicegate.policies.guards.grounding.lexicon import WITHOUT_SPACES, folded

__all__ = [
    "Stance",
    "difference",
    "opposites",
    "reversed_word",
    "says_stance",
    "stance",
    "turned_bound",
    "without_stance",
]

Modality = Literal["", "must", "may", "must-not", "need-not", "not"]
_STANCE = ("optional", "forbids", "obliges", "allows", "negates", "denies")
_LIMITS = ("only", "least", "most", "before", "after", "all", "mostly", "some", "few", "more", "less")
_BOUNDS = (frozenset({"least", "more"}), frozenset({"most", "less"}))
"""Upwards and downwards: "more than twenty" is a bound and "more guests" a comparison, in the same words."""
_HOW_MANY = frozenset({"all", "mostly", "some", "few"})
_CLASH = (("must", "may"), ("may", "must"), ("must-not", "need-not"), ("need-not", "must-not"))

_OPPOSITES = (
    ("enable", "disable"), ("allow", "forbid"), ("allow", "prohibit"), ("permit", "prohibit"), ("require", "optional"),
    ("mandatory", "optional"), ("before", "after"), ("increase", "decrease"), ("more", "less"), ("always", "never"),
    ("above", "below"), ("minimum", "maximum"), ("include", "exclude"), ("accept", "reject"), ("internal", "external"),
    ("first", "last"), ("open", "close"), ("start", "stop"), ("connect", "disconnect"), ("valid", "invalid"),
    ("encrypted", "unencrypted"), ("approved", "rejected"), ("paid", "unpaid"), ("free", "paid"), ("on", "off"),
    ("safe", "unsafe"), ("available", "unavailable"), ("public", "private"), ("add", "remove"), ("early", "late"),
    ("lock", "unlock"), ("install", "uninstall"), ("weekly", "monthly"), ("daily", "weekly"), ("daily", "monthly"),
    ("monthly", "yearly"), ("weekday", "weekend"),
    ("manager", "employee"), ("at least", "at most"), ("up to", "at least"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stance:
    """How a sentence says what it says."""

    negated: bool
    denied: bool
    """By a word such as "excluded", which has the negation in it."""
    modality: Modality
    limits: frozenset[str]


@functools.lru_cache(maxsize=4096)
def stance(text: str, language: str) -> Stance:
    """The stance of a `plain` text."""
    patterns, counts, left = _patterns(language), dict[str, int](), _negative_bounds(language).sub(" ", text)
    for kind in _STANCE:
        left, counts[kind] = patterns[kind].subn(" ", left)
    pattern, kinds = _limits(language)
    limits = frozenset(kind for found in pattern.finditer(text) for kind in kinds[str(found.lastgroup)])
    no = bool(counts["negates"]) != bool(counts["denies"])
    modality: Modality = "not" if no else ""
    if counts["optional"]:
        modality = "must" if no and language == "en" else "need-not"
    elif counts["forbids"]:
        modality = "may" if no else "must-not"
    elif counts["obliges"] and counts["allows"]:
        modality = "not" if no else ""
    elif counts["allows"]:
        modality = "must-not" if no else "may"
    elif counts["obliges"]:
        modality = "not" if no else "must"
    return Stance(modality in ("must-not", "need-not", "not"), bool(counts["denies"]), modality, limits)


def difference(claim: Stance, other: Stance, *, turned_order: bool = False) -> str:
    """Why a claim does not say what another sentence says in the same words; empty where nothing shows that.

    With `turned_order` two parts have changed places, so that more is said of the one as less was said of the other.
    """
    if claim.negated != other.negated:
        return "its negation differs from the passage's"
    if (claim.modality, other.modality) in _CLASH:
        return "must and may differ from the passage's"
    if turned_bound(claim, other) and not turned_order:
        return "it has a lower bound for an upper one or more for less, or the other way round"
    ours, theirs = claim.limits & {"before", "after"}, other.limits & {"before", "after"}
    if len(ours) == len(theirs) == 1 and ours != theirs:
        return "it has before for after, or the other way round"
    ours, theirs = claim.limits & _HOW_MANY, other.limits & _HOW_MANY
    if len(ours) == len(theirs) == 1 and ours != theirs:
        return "it says of all, most, some or few what the passage says of others"
    if "only" in claim.limits - other.limits:
        return "it says only where the passage does not"
    return ""


def turned_bound(claim: Stance, other: Stance) -> bool:
    """Whether one says upwards where the other says downwards, of a number or in a comparison."""
    ours, theirs = ([bool(one.limits & way) for way in _BOUNDS] for one in (claim, other))
    return ours == theirs[::-1] and any(ours) and not all(ours)


def opposites(ours: str, theirs: str) -> bool:
    """Whether two English texts have a word and its opposite; a text that contains both cannot be compared."""
    ours, theirs = f" {ours}", f" {theirs}"
    for one, other in _OPPOSITES:
        sides = [(f" {word}" in ours, f" {word}" in theirs) for word in (one, other)]
        if sides in ([(True, False), (False, True)], [(False, True), (True, False)]):
            return True
    return False


def reversed_word(ours: Sequence[str], theirs: Sequence[str], language: str) -> bool:
    """Whether a word of one side is a word of the other with a negative affix; only words that one side alone has."""
    affixes = _affixes(language)
    return any(
        len(short) > (1 if language in WITHOUT_SPACES else 3)
        and (
            any(long == prefix + short for prefix in affixes["prefixes"])
            or any(long == short + suffix for suffix in affixes["suffixes"])
        )
        for one, other in ((ours, theirs), (theirs, ours))
        for long in one
        for short in other
    )


@functools.lru_cache(maxsize=4096)
def says_stance(word: str, language: str) -> bool:
    """Whether a word says not, must, may or how many: it is no content, and compared by `difference`."""
    return any(pattern.fullmatch(word) for pattern in _patterns(language).values())


@functools.cache
def _every() -> Mapping[str, Mapping[str, Any]]:
    return yaml.safe_load(Path(__file__).with_name("reversals.yaml").read_text(encoding="utf-8"))


@functools.cache
def _affixes(language: str) -> dict[str, list[str]]:
    listed = _every()[language]
    return {kind: [folded(affix) for affix in listed[kind].split("|") if affix] for kind in ("prefixes", "suffixes")}


@functools.cache
def _patterns(language: str) -> dict[str, regex.Pattern[str]]:
    return {kind: _pattern(_phrases(language, kind), language) for kind in (*_STANCE, *_LIMITS)}


@functools.cache
def _limits(language: str) -> tuple[regex.Pattern[str], dict[str, list[str]]]:
    """One pattern for the phrases of every limit, and the kinds of each of its groups: of two phrases that begin at one
    place the longer one counts, so that "no more than" is not "more than"."""
    kinds: dict[str, list[str]] = {}
    for kind in _LIMITS:
        for phrase in _phrases(language, kind):
            kinds.setdefault(phrase, []).append(kind)
    phrases = sorted(kinds, key=len, reverse=True)
    named = [f"(?P<g{at}>{_escaped(phrase)})" for at, phrase in enumerate(phrases)]
    return _bounded("|".join(named), language), {f"g{at}": kinds[phrase] for at, phrase in enumerate(phrases)}


@functools.cache
def _negative_bounds(language: str) -> regex.Pattern[str]:
    """Limits with a negation, such as "no more than", which negates nothing."""
    no = _patterns(language)["negates"]
    return _pattern([one for kind in _LIMITS for one in _phrases(language, kind) if no.search(one)], language)


@functools.lru_cache(maxsize=4096)
def without_stance(text: str, language: str) -> str:
    """A `plain` text without the phrases that say not, must, may or how many."""
    text = _limits(language)[0].sub(" ", text)
    for kind in _STANCE:
        text = _patterns(language)[kind].sub(" ", text)
    return text


def _phrases(language: str, kind: str) -> list[str]:
    return [folded(phrase) for phrase in _every()[language][kind].split("|")]


def _pattern(phrases: Sequence[str], language: str) -> regex.Pattern[str]:
    return _bounded("|".join(map(_escaped, sorted(phrases, key=len, reverse=True))) or r"(?!)", language)


def _escaped(phrase: str) -> str:
    return regex.escape(phrase, special_only=True).replace(r"\*", r"[\p{L}\p{M}]*")


def _bounded(either: str, language: str) -> regex.Pattern[str]:
    if language in WITHOUT_SPACES:
        return regex.compile(either.replace(r"[\p{L}\p{M}]*", ""))
    # an elided word ends with its apostrophe; Arabic writes "and" as a part of the next word
    before = r"(?<![\p{L}\p{M}'])[وف]?" if language == "ar" else r"(?<![\p{L}\p{M}'])"
    return regex.compile(rf"{before}(?:{either})(?:(?<=')|(?![\p{{L}}\p{{M}}]))")
