"""Statements, and whether the passages support one: the comparison behind the guard `grounded`."""

import difflib
import functools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import regex

from sluicegate.policies.guards.grounding.lexicon import WITHOUT_SPACES, lexicon
from sluicegate.policies.guards.grounding.quantities import Quantities, Quantity, same, scan
from sluicegate.policies.guards.grounding.reversals import (
    Stance,
    difference,
    opposites,
    reversed_word,
    says_stance,
    stance,
)
from sluicegate.policies.guards.grounding.words import plain, shared_start, stem, tokens

__all__ = ["Passages", "Statement", "clauses", "fault", "read"]

_CLAUSE = regex.compile(r"[;,]\s+|[，；，、؛،]\s*|\s(?:and|but|or)\s")
_NAME = regex.compile(
    r"(?<![.!?:\"'(\]]\s)(?<!^)\b(?:\p{Lu}\p{Ll}+(?:\p{Lu}\p{Ll}+)*|\p{Lu}{2,}\d*|\p{Lu}[\p{L}]*\d\w*)\b"
)
_MARKER = regex.compile(r"\[\d[\d,;\s–-]*\]")
_NO_CLAIM = regex.compile(
    r"^(?:i (?:do not|don't|did not|cannot|can't|could not|couldn't) (?:know|find|see|tell|say|answer)"
    r"|(?:i'?m |i am |we are )?sorry\b|(?:please )?(?:let me|let us) know|(?:i )?hope (?:this|that) helps"
    r"|(?:hi|hello|dear|thanks|thank you)\b|(?:you'?re|you are) welcome|here (?:is|are) (?:the|what|how|some)\b[^.]*:?$"
    r"|the (?:passages?|sources?|articles?|documents?) (?:do|does) not|based on the\b[^,.]*[:.]?$)",
    regex.IGNORECASE,
)
_SAME_STATEMENT = 0.6
"""Minimum share of a sentence's words for a passage's sentence to count as being about the same."""
_SWAPPED_AT_MOST = 6
"""Words of each of two parts that change places."""
_DAYS = ("day", "month-")


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence, or a clause of one, as it is compared."""

    text: str
    plain: str
    words: frozenset[str]
    """Content words in one form of their inflection."""
    order: tuple[str, ...]
    """All words so, in order, with numbers and units by value."""
    quantities: Quantities
    stance: Stance


class Passages:
    """What can be said by some passages."""

    def __init__(self, statements: Sequence[Statement]) -> None:
        self.statements = statements
        self.counts = Counter(word for statement in statements for word in statement.words)
        self.known = frozenset(word for statement in statements for word in statement.order)
        self.quantities = frozenset(one for statement in statements for one in statement.quantities.every)
        self.terms = frozenset(term for statement in statements for term in statement.quantities.terms)

    def weight(self, word: str) -> float:
        return math.log(1 + (len(self.statements) + 1) / (self.counts[word] + 0.5))


@functools.lru_cache(maxsize=4096)
def read(text: str, language: str) -> Statement:
    """A sentence of one of the known languages."""
    bare = plain(text)
    quantities = scan(tokens(bare, language), language)
    function_words = lexicon(language).function_words
    order = tuple(word if word[0] in "#@" else stem(word, language) for word in quantities.rest)
    words = frozenset(
        form
        for word, form in zip(quantities.rest, order, strict=True)
        if word[0] != "#" and word not in function_words and not says_stance(word, language)
    )
    return Statement(text, bare, words, order, quantities, stance(bare, language))


def clauses(sentence: str) -> list[str]:
    return [clause for clause in _CLAUSE.split(sentence) if clause.strip()]


def fault(sentence: str, passages: Passages, asked: Statement, support: float, language: str) -> str:
    """Why the passages do not support a sentence; empty where they do."""
    bare = _MARKER.sub("", sentence).strip()
    claim = read(bare, language)
    said = claim.quantities
    counted = [one for one in said.every if not one.weak]
    if (
        bare.endswith(("?", "？", "؟"))
        or _NO_CLAIM.match(bare)
        or (len(claim.words) < 2 and not counted and not said.terms and not claim.stance.modality)
    ):
        return ""
    if why := _foreign(claim, counted, passages, asked, language):
        return why
    known = {
        word for word in claim.words if word in passages.known or any(_related(word, one) for one in passages.known)
    }
    # a word the passages never use weighs as much as their rarest one; one the question brought weighs nothing
    weights = {word: passages.weight(word) for word in claim.words if word in known or word not in asked.words}
    total = sum(weights.values())
    held = sum(weight for word, weight in weights.items() if word in known)
    if total and held / total < support:
        return "too few of its words are in the passages"
    parts = [part for part in (read(clause, language) for clause in clauses(bare)) if len(part.words) > 2]
    return next(filter(None, (_turned(part, passages, asked, language) for part in (claim, *parts))), "")


def _foreign(claim: Statement, counted: list[Quantity], passages: Passages, asked: Statement, language: str) -> str:
    """A number, day or name that neither the passages nor the question have."""
    given = passages.quantities | asked.quantities.every
    for one in counted:
        if not any(same(one, other) for other in given):
            if any(one.value == other.value for other in given):
                return "a number with another unit than in the passages"
            return "a number that is in no passage"
    if any((term.endswith("day") and term != "day") or term.startswith("month-")
           for term in claim.quantities.terms - passages.terms - asked.quantities.terms):  # fmt: skip
        return "a day or month that is in no passage"
    if language not in ("de", *WITHOUT_SPACES):
        for name in _NAME.findall(claim.text):
            forms = {stem(word, language) for word in tokens(plain(name), language)}
            if not forms <= passages.known | set(asked.order) and not _counts(name, language):
                return "a name that is in no passage"
    return ""


def _counts(name: str, language: str) -> bool:
    """Whether a name is a number, day or month, which are compared as such."""
    read_as = scan(tokens(plain(name), language), language)
    return bool(read_as.every or read_as.terms)


def _turned(claim: Statement, passages: Passages, asked: Statement, language: str) -> str:
    """How a sentence turns round the statement that is nearest to it."""
    # of two that share as much, the shorter one says less besides
    best = max(passages.statements, key=lambda other: (len(other.words & claim.words), -len(other.words)), default=None)
    if best is None or len(best.words & claim.words) < _SAME_STATEMENT * len(claim.words):
        return ""
    if why := difference(claim.stance, best.stance):
        return why
    if language == "en" and opposites(claim.plain, best.plain):
        return "the opposite of what the passage says"
    ours, theirs = sorted(claim.words - best.words), sorted(best.words - claim.words)
    if reversed_word(ours, theirs, language):
        return "the opposite of what the passage says"
    return _replaced(claim, best, passages) or _exchanged(claim, best, passages, asked, language)


def _replaced(claim: Statement, best: Statement, passages: Passages) -> str:
    """A number or day that stands in the place of another."""
    ours = {one for one in claim.quantities.every if not any(same(one, other) for other in best.quantities.every)}
    theirs = {one for one in best.quantities.every if not any(same(one, other) for other in claim.quantities.every)}
    shared = len(best.words & claim.words)
    if ours and theirs and not any(
        len(other.words & claim.words) >= shared
        and all(any(same(one, held) for held in other.quantities.every) for one in claim.quantities.every)
        for other in passages.statements
    ):  # fmt: skip
        return "a number that the passages give for something else"
    if claim.quantities.terms - best.quantities.terms and best.quantities.terms - claim.quantities.terms and not any(
        len(other.words & claim.words) >= shared and claim.quantities.terms <= other.quantities.terms
        for other in passages.statements
    ):  # fmt: skip
        return "a day or unit that the passages give for something else"
    return ""


def _exchanged(claim: Statement, best: Statement, passages: Passages, asked: Statement, language: str) -> str:
    """A word that no passage has in the place of one of the statement's, or two parts of it that changed places."""
    theirs = best.order
    ours = [
        word if word in theirs else next((one for one in theirs if _related(word, one)), word) for word in claim.order
    ]
    matcher = difflib.SequenceMatcher(a=ours, b=theirs, autojunk=False)
    for kind, start, end, other_start, other_end in matcher.get_opcodes():
        if kind == "replace":
            gone = [word for word in theirs[other_start:other_end] if word in best.words and word not in ours]
            new = [word for word in ours[start:end] if word in claim.words and word not in passages.known
                   and word not in asked.order]  # fmt: skip
            if new and gone:
                return "a word that is in no passage stands for one of the passage's"
    if _swapped(ours, theirs, best.words, spaced=language not in WITHOUT_SPACES):
        return "two parts of the passage's statement have changed places"
    return ""


def _related(one: str, other: str) -> bool:
    """Whether two words look like inflections that the stemmer did not bring together."""
    shared = shared_start(one, other)
    return shared >= 4 and max(len(one), len(other)) - shared <= 3


def _swapped(ours: Sequence[str], theirs: Sequence[str], words: frozenset[str], *, spaced: bool) -> bool:
    """Whether one order is the other with two stretches of content words exchanged around what stays."""
    if len(ours) != len(theirs) or list(ours) == list(theirs) or sorted(ours) != sorted(theirs):
        return False
    start = next(at for at, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other)
    end = len(ours) - next(
        at for at, (one, other) in enumerate(zip(reversed(ours), reversed(theirs), strict=True)) if one != other
    )
    one, other = list(ours[start:end]), list(theirs[start:end])
    for first in range(1, min(_SWAPPED_AT_MOST, len(one)) + 1):
        for second in range(1, min(_SWAPPED_AT_MOST, len(one) - first) + 1):
            head, tail, middle = one[:first], one[-second:], one[first : len(one) - second]
            if not middle or other != tail + middle + head:
                continue
            # a part with a preposition may well come first; a sign of a word is not one
            if {*head, *tail} <= words if spaced else words & {*head} and words & {*tail}:
                return True
    return False
