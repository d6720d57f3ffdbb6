"""`grounded`: every sentence of an answer is supported by the retrieved passages.

A sentence is supported when enough of its content words are in the passages, weighted by how rare each is there,
every number and name in it is in a passage or in the question, and it does not reverse the passage's statement (a
negation on one side only, or an opposite word). It compares words, not meaning: a paraphrase in other words
fails, a wrong recombination of the right words passes. `benchmarks/guards.py` measures it on labelled answers.
"""

import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from sluicegate.policies.guards.checking import PASS, Check, GuardKind, Helpers, Subject, Verdict
from sluicegate.policies.guards.config import GroundedSettings
from sluicegate.policies.guards.detectors.prose import NEGATIONS, stem, word_set
from sluicegate.policies.guards.settings import GuardSettings
from sluicegate.segmentation import sentences

__all__ = ["KIND", "unsupported"]

_MARKER = re.compile(r"\[\d[\d,;\s–-]*\]")
_NUMBER = re.compile(r"(?<![\w.])[$€£]?\d+(?:[.,:/-]\d+)*\b%?")
_NAME = re.compile(r"(?<![.!?:\"'(\]]\s)(?<!^)\b(?:[A-Z][a-z]+(?:[A-Z][a-z]+)*|[A-Z]{2,}\d*|[A-Z][a-zA-Z]*\d\w*)\b")
_TOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_NUMBER_WORDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_SPELT = {word: str(number) for number, word in enumerate(_NUMBER_WORDS, start=2)}
_NO_CLAIM = re.compile(
    r"^(?:i (?:do not|don't|did not|cannot|can't|could not|couldn't) (?:know|find|see|tell|say|answer)"
    r"|(?:i'?m |i am |we are )?sorry\b|(?:please )?(?:let me|let us) know|(?:i )?hope (?:this|that) helps"
    r"|(?:hi|hello|dear|thanks|thank you)\b|(?:you'?re|you are) welcome|here (?:is|are) (?:the|what|how|some)\b[^.]*:?$"
    r"|the (?:passages?|sources?|articles?|documents?) (?:do|does) not|based on the\b[^,.]*[:.]?$)",
    re.IGNORECASE,
)
_OPPOSITES = (
    ("enable", "disable"), ("allow", "forbid"), ("allow", "prohibit"), ("permit", "prohibit"), ("require", "optional"),
    ("mandatory", "optional"), ("before", "after"), ("increase", "decrease"), ("more", "less"), ("always", "never"),
    ("above", "below"), ("minimum", "maximum"), ("include", "exclude"), ("accept", "reject"), ("internal", "external"),
    ("first", "last"), ("open", "close"), ("start", "stop"), ("connect", "disconnect"), ("valid", "invalid"),
    ("encrypted", "unencrypted"), ("approved", "rejected"), ("paid", "unpaid"), ("free", "paid"), ("on", "off"),
    ("safe", "unsafe"), ("available", "unavailable"), ("public", "private"), ("add", "remove"), ("early", "late"),
    ("lock", "unlock"), ("install", "uninstall"), ("weekly", "monthly"), ("daily", "weekly"), ("daily", "monthly"),
    ("monthly", "yearly"), ("weekday", "weekend"), ("minutes", "hours"), ("hours", "days"), ("days", "weeks"),
    ("weeks", "months"), ("months", "years"), ("manager", "employee"), ("at least", "at most"), ("up to", "at least"),
)  # fmt: skip
_CLAUSE = re.compile(r"[;,]\s+|\s(?:and|but|or)\s")
_COMMA = re.compile(r"[;,:]\s+")
_MOST_CLAUSES = 20
"""Limit per sentence: a list of hundreds of items has more runs than are worth comparing."""
_SAME_STATEMENT = 0.6
"""Minimum share of a sentence's words for a passage's sentence to count as being about the same."""


@dataclass(frozen=True, slots=True)
class _Statement:
    text: str
    words: frozenset[str]
    negated: bool


@dataclass(frozen=True, slots=True)
class _Source:
    """What can be said by one passage."""

    statements: tuple[_Statement, ...]
    word_for_word: frozenset[str]
    """What may be quoted of it."""
    counts: Counter[str]
    """How many of its statements have each word."""
    numbers: frozenset[str]
    names: frozenset[str]


def unsupported(text: str, sources: tuple[str, ...], question: str, support: float) -> list[tuple[int, str]]:
    """Sentences of `text` without support, as their number (from 1) and why; reasons quote nothing."""
    read = [_read(source) for source in sources]
    statements = [statement for one in read for statement in one.statements]
    word_for_word = frozenset[str]().union(*(one.word_for_word for one in read))
    counts = Counter[str]()
    for one in read:
        counts.update(one.counts)
    given = frozenset(counts)
    known = [*((one.numbers, one.names) for one in read), _figures(question)]
    numbers, names = (frozenset[str]().union(*sets) for sets in zip(*known, strict=True))
    faults: list[tuple[int, str]] = []
    for number, sentence in enumerate(sentences(text), start=1):
        if _bare(sentence) in word_for_word:
            continue  # neither half is then compared with the whole
        whys = (
            _fault(part, statements, counts, given, numbers, names, question, support) for part in sentence.split("; ")
        )
        why = next(filter(None, whys), "")
        if why:
            faults.append((number, why))
    return faults


def _fault(
    sentence: str,
    statements: list[_Statement],
    counts: Counter[str],
    given: frozenset[str],
    numbers: frozenset[str],
    names: frozenset[str],
    question: str,
    support: float,
) -> str:
    bare = _MARKER.sub("", sentence).strip()
    claimed = _numbers(bare)
    words = word_set(bare)
    if bare.endswith("?") or _NO_CLAIM.match(bare) or (len(words) < 2 and not claimed):
        return ""
    if any(value not in numbers for value in claimed):
        return "a number that is in no passage"
    if any(name.casefold() not in names and stem(name.casefold()) not in given for name in _NAME.findall(bare)):
        return "a name that is in no passage"
    asked = word_set(question)
    # a word the passages never use weighs as much as their rarest one; one the question brought weighs nothing
    weights = {word: _weight(counts[word], len(statements)) for word in words if word in given or word not in asked}
    total = sum(weights.values())
    held = sum(weight for word, weight in weights.items() if word in given)
    if total and held / total < support:
        return "too few of its words are in the passages"
    # of two that share as much, the shorter one says less besides
    best = max(statements, key=lambda statement: (len(statement.words & words), -len(statement.words)), default=None)
    if best is None or len(best.words & words) < _SAME_STATEMENT * len(words):
        return ""
    lower = bare.casefold()
    if best.negated != _negated(lower):
        return "its negation differs from the passage's"
    ours, theirs = f" {lower}", f" {best.text}"
    for one, other in _OPPOSITES:
        sides = [(f" {word}" in ours, f" {word}" in theirs) for word in (one, other)]
        # a text that contains both words cannot be compared
        if sides in ([(True, False), (False, True)], [(False, True), (True, False)]):
            return "the opposite of what the passage says"
    return ""


@lru_cache(maxsize=512)
def _read(source: str) -> _Source:
    said = sentences(source)
    statements = tuple(_statement(part) for sentence in said for part in dict.fromkeys((sentence, *_clauses(sentence))))
    return _Source(
        statements,
        frozenset(_bare(run) for sentence in said for run in _runs(sentence)),
        Counter(word for statement in statements for word in statement.words),
        *_figures(source),
    )


def _figures(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """The numbers of a text, and its words as names are compared."""
    return frozenset(_numbers(text)), frozenset(name.casefold() for name in _TOKEN.findall(text))


def _bare(sentence: str) -> str:
    return " ".join(re.sub(r"[;,:](?=\s)", "", _MARKER.sub("", sentence)).casefold().split()).rstrip(" .:;,")


def _runs(sentence: str) -> set[str]:
    """The sentence, and each of its clauses and runs of adjacent ones: what may be quoted of it."""
    clauses = _COMMA.split(sentence)[:_MOST_CLAUSES]
    ends = range(1, len(clauses) + 1)
    return {sentence, *(" ".join(clauses[start:end]) for end in ends for start in range(end))}


def _clauses(sentence: str) -> list[str]:
    return _CLAUSE.split(sentence)


def _weight(count: int, statements: int) -> float:
    return math.log(1 + (statements + 1) / (count + 0.5))


def _statement(sentence: str) -> _Statement:
    lower = sentence.casefold()
    return _Statement(lower, word_set(sentence), _negated(lower))


def _negated(lower: str) -> bool:
    return not NEGATIONS.isdisjoint(_TOKEN.findall(lower.replace("’", "'")))


def _numbers(text: str) -> list[str]:
    found = [number.lstrip("$€£").rstrip("%").replace(",", "") for number in _NUMBER.findall(_MARKER.sub("", text))]
    return found + [_SPELT[word] for word in re.findall(r"[a-z]+", text.casefold()) if word in _SPELT]


def _make(settings: GuardSettings, helpers: Helpers) -> Check:
    del helpers
    assert isinstance(settings, GroundedSettings)

    def check(subject: Subject) -> Verdict:
        if not subject.text.strip():
            return PASS
        if not subject.sources:
            return Verdict(passed=False, reason="no supporting passages")
        faults = unsupported(subject.text, subject.sources, subject.question, settings.support)
        if len(faults) <= settings.unsupported:
            return PASS
        named = "; ".join(f"sentence {number}: {why}" for number, why in faults[:3])
        return Verdict(passed=False, reason=f"{len(faults)} unsupported, {named}")

    return check


KIND = GuardKind(
    name="grounded",
    doc="Every sentence is supported by a retrieved passage: words, numbers, names and negations.",
    stages=frozenset({"output"}),
    settings=GroundedSettings,
    make=_make,
    quick=True,
)
