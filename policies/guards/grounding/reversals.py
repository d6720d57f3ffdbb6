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

__all__ = ["Stance", "difference", "opposites", "reversed_word", "says_stance", "stance"]

Modality = Literal["", "must", "may", "must-not", "need-not", "not"]
_STANCE = ("optional", "forbids", "obliges", "allows", "negates")
_LIMITS = ("only", "least", "most", "before", "after", "all", "some", "more", "less")
_PAIRS = (("least", "most"), ("before", "after"), ("all", "some"), ("more", "less"))
_SAYS = {("least", "most"): "a lower bound for an upper one", ("before", "after"): "before for after",
         ("all", "some"): "always for sometimes", ("more", "less"): "more for less"}  # fmt: skip
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
    modality: Modality
    limits: frozenset[str]


@functools.lru_cache(maxsize=4096)
def stance(text: str, language: str) -> Stance:
    """The stance of a `plain` text."""
    patterns, counts, left = _patterns(language), dict[str, int](), text
    for kind in _STANCE:
        left, counts[kind] = patterns[kind].subn(" ", left)
    limits = frozenset(kind for kind in _LIMITS if patterns[kind].search(text))
    no = bool(counts["negates"])
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
    return Stance(modality in ("must-not", "need-not", "not"), modality, limits)


def difference(claim: Stance, other: Stance) -> str:
    """Why a claim does not say what another sentence says in the same words; empty where nothing shows that."""
    if claim.negated != other.negated:
        return "its negation differs from the passage's"
    if (claim.modality, other.modality) in _CLASH:
        return "must and may differ from the passage's"
    for low, high in _PAIRS:
        ours, theirs = claim.limits & {low, high}, other.limits & {low, high}
        if len(ours) == len(theirs) == 1 and ours != theirs:
            return f"it has {_SAYS[low, high]}, or the other way round"
    if "only" in claim.limits - other.limits:
        return "it says only where the passage does not"
    return ""


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
    return {kind: _pattern(_every()[language][kind], language) for kind in (*_STANCE, *_LIMITS)}


def _pattern(listed: str, language: str) -> regex.Pattern[str]:
    words = sorted(map(folded, listed.split("|")), key=len, reverse=True)
    either = "|".join(regex.escape(word, special_only=True).replace(r"\*", r"[\p{L}\p{M}]*") for word in words)
    if language in WITHOUT_SPACES:
        return regex.compile(either.replace(r"[\p{L}\p{M}]*", ""))
    # an elided word ends with its apostrophe
    return regex.compile(rf"(?<![\p{{L}}\p{{M}}'])(?:{either})(?![\p{{L}}\p{{M}}])")
