"""Statements, and whether the passages support one: the comparison behind the guard `grounded`."""

import difflib
import functools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import regex

from sluicegate.policies.guards.grounding.lexicon import WITHOUT_SPACES, lexicon
from sluicegate.policies.guards.grounding.parts import (
    Role,
    in_their_forms,
    related,
    roles_exchanged,
    roles_of,
    swapped,
)
from sluicegate.policies.guards.grounding.quantities import Quantities, Quantity, same, scan
from sluicegate.policies.guards.grounding.reversals import (
    Stance,
    difference,
    opposites,
    reversed_word,
    stance,
    turned_bound,
    without_stance,
)
from sluicegate.policies.guards.grounding.words import plain, stem, tokens

__all__ = ["Passages", "Statement", "clauses", "fault", "read"]

_CLAUSE = regex.compile(r"[;,]\s+(?!(?:than|als|dan|que|niż|чем)\b)|[，；，、؛،]\s*|\s(?:and|but|or)\s")
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
_PUT_IN_AT_MOST = 2
"""Words, or twice as many signs, that may have been put in the place of others."""
_LONGEST_ENDING = 3
_KANA = regex.compile(r"\p{Hiragana}+")
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
    spoken: tuple[str, ...]
    """`order` without the words that say not, must, may or how many."""
    roles: tuple[Role, ...]


class Passages:
    """What can be said by some passages."""

    def __init__(self, statements: Sequence[Statement]) -> None:
        self.statements = statements
        self.counts = Counter(word for statement in statements for word in statement.words)
        self.known = frozenset(word for statement in statements for word in statement.order)
        self.by_start: dict[str, list[str]] = {}
        for word in self.known:
            self.by_start.setdefault(word[:4], []).append(word)
        self.quantities = frozenset(one for statement in statements for one in statement.quantities.every)
        self.terms = frozenset(term for statement in statements for term in statement.quantities.terms)

    def form_of(self, word: str) -> str:
        """The word of theirs that looks like another inflection of it; itself where there is none."""
        return min((one for one in self.by_start.get(word[:4], ()) if related(word, one)), default=word)

    def weight(self, word: str) -> float:
        return math.log(1 + (len(self.statements) + 1) / (self.counts[word] + 0.5))


@functools.lru_cache(maxsize=4096)
def read(text: str, language: str) -> Statement:
    """A sentence of one of the known languages."""
    bare = plain(text)
    quantities = scan(tokens(bare, language), language)
    function_words = lexicon(language).function_words
    order = tuple(stem(word, language) for word in quantities.rest)
    said = scan(tokens(without_stance(bare, language), language), language).rest
    content = {word for word in said if word[0] != "#" and word not in function_words and not _ending(word, language)}
    words = frozenset(stem(word, language) for word in content)
    spoken = tuple(stem(word, language) for word in said)
    roles = roles_of(quantities.rest, content, language)
    return Statement(text, bare, words, order, quantities, stance(bare, language), spoken, roles)


def _ending(word: str, language: str) -> bool:
    """Whether a Japanese word is a particle or an ending: these are in kana, and short."""
    return language == "ja" and len(word) <= _LONGEST_ENDING and bool(_KANA.fullmatch(word))


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
    known = {word for word in claim.words if word in passages.known or passages.form_of(word) in passages.known}
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
    words = {word if word in passages.known else passages.form_of(word) for word in claim.words}
    best = max(passages.statements, key=lambda other: (len(other.words & words), -len(other.words)), default=None)
    if best is None or len(best.words & words) < _SAME_STATEMENT * len(words):
        return ""
    turned = turned_bound(claim.stance, best.stance)
    exchanged = _parts_exchanged(claim, best, language, compared=turned)
    if why := difference(claim.stance, best.stance, turned_order=turned and exchanged):
        return why
    said_otherwise = claim.stance.denied != best.stance.denied or (turned and exchanged)
    if language == "en" and not said_otherwise and opposites(claim.plain, best.plain):
        return "the opposite of what the passage says"
    ours, theirs = sorted(claim.words - best.words), sorted(best.words - claim.words)
    if reversed_word(ours, theirs, language):
        return "the opposite of what the passage says"
    if why := _replaced(claim, best, passages) or _put_in(claim, best, passages, asked, language):
        return why
    return "two parts of the passage's statement have changed places" if exchanged and not turned else ""


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


def _put_in(claim: Statement, best: Statement, passages: Passages, asked: Statement, language: str) -> str:
    """A word in the place of one of the statement's: one that no passage has, or, where nothing else differs, one that
    the passages have elsewhere."""
    theirs = best.order
    ours = in_their_forms(claim.order, theirs)
    matcher = difflib.SequenceMatcher(a=ours, b=theirs, autojunk=False)
    for kind, start, end, other_start, other_end in matcher.get_opcodes():
        if kind == "replace":
            gone = [word for word in theirs[other_start:other_end] if word in best.words and word not in ours]
            new = [word for word in ours[start:end] if word in claim.words and word not in passages.known
                   and word not in asked.order]  # fmt: skip
            if new and gone:
                return "a word that is in no passage stands for one of the passage's"
    return _put_in_from_elsewhere(claim, best, passages, asked, language)


def _put_in_from_elsewhere(
    claim: Statement, best: Statement, passages: Passages, asked: Statement, language: str
) -> str:
    theirs = [one.stem for one in best.roles]
    ours = in_their_forms([one.stem for one in claim.roles], theirs)
    changes = [
        one for one in difflib.SequenceMatcher(a=ours, b=theirs, autojunk=False).get_opcodes() if one[0] != "equal"
    ]
    replaced = [one for one in changes if one[0] == "replace"]
    if len(replaced) != 1 or any(kind == "insert" for kind, *_ in changes):
        return ""  # parts of the passage's statement may be left out
    _, start, end, other_start, other_end = replaced[0]
    new, gone = set(ours[start:end]), set(theirs[other_start:other_end])
    most = _PUT_IN_AT_MOST * (2 if language in WITHOUT_SPACES else 1)
    if max(end - start, other_end - other_start) > most or any(word[0] in "#@" for word in new | gone):
        return ""
    if not new.isdisjoint(theirs) or not gone.isdisjoint(ours) or new & set(asked.order):
        return ""
    shared = len(best.words & claim.words)
    if any(new <= other.words and len(other.words & claim.words) >= shared for other in passages.statements):
        return ""
    return "a word that the passages use elsewhere stands for one of the passage's"


def _parts_exchanged(claim: Statement, best: Statement, language: str, *, compared: bool) -> bool:
    # without the words that say how many and when, as more said of the one is less of the other; and with them, as
    # those may be all that stands between: "von Kiel nach Ulm"
    orders = ((claim.spoken, best.spoken), (claim.order, best.order))
    return any(
        swapped(in_their_forms(ours, theirs), theirs, best.words, language, compared=compared)
        for ours, theirs in orders
    ) or roles_exchanged(claim.roles, best.roles, language)
