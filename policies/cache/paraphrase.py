"""Decides whether two questions ask the same, by their words alone, so that the result is certain and explainable.

Similar embeddings do not tell "1000 euros" from "10000 euros", on from off, or who from when. This does: two questions
are the same when they are of one kind (how, when, whether, …) and have the same content words in the same order, after
spellings and a few safe synonyms are normalised. A clause before a comma may also come at the end. Numbers, units,
names, codes, negations, opposites, persons and times are content words, so one that differs is a difference. Many true
paraphrases use other words and are refused: a miss costs a model call, a false hit a wrong answer.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sluicegate.policies.cache.wording import LEADS, NUMBERS, PHRASES, SAME, SELF, SILENT, TAILS

__all__ = ["difference"]

_QUOTED = re.compile(r"[\"“”„«»]([^\"“”„«»]+)[\"“”„«»]")
_TOKEN = re.compile(r"-?\d+(?:[.,:/]\d+)*|[^\W\d_]+(?:[+#]+|(?=\W|\d|_|$))|[€$£%]|[,:;]|[^\s\w]|_|\w+")
_CONTRACTED = (
    (re.compile(r"\bwon't\b"), "will not"),
    (re.compile(r"\bcan't\b|\bcannot\b"), "can not"),
    (re.compile(r"n't\b"), " not"),
    (re.compile(r"\b(i|we|you|they)'ve\b"), r"\1 have"),
    (re.compile(r"\b(i|we|you|they|he|she|it)'ll\b"), r"\1 will"),
    (re.compile(r"\bi'm\b"), "i am"),
    (re.compile(r"\b(we|you|they)'re\b"), r"\1 are"),
    (re.compile(r"\b(i|we|you|they|he|she)'d\b"), r"\1 would"),
    (re.compile(r"\b(what|who|where|when|how|that|there|it)'s\b"), r"\1 is"),
    (re.compile(r"'s?\b"), ""),
)
_WRITTEN = (
    (re.compile(r"\b([ap])\.m\.?"), r"\1m"),
    (re.compile(r"\b0?(\d{1,2}):00\b"), r"\1"),
    (re.compile(r"\b0(\d:\d\d)\b"), r"\1"),
    (re.compile(r"(?<=\d),(?=\d{3}(?!\d))"), ""),
    (re.compile(r"(\d)(am|pm|[kmgt]b|kg|g|lb|km|cm|mm|h|days?|hours?|eur|usd)\b"), r"\1 \2"),
)
"""Times, numbers and units, each written in one way."""
_WEEKDAY = re.compile(r"(?:mon|tues|wednes|thurs|fri|satur|sun)days?$")
_KINDS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("how much", r"how much\b|what (?:is|are) the (?:cost|price|fee)s?\b"),
        ("how many", r"how many\b"),
        ("how long", r"how long\b"),
        ("how often", r"how often\b"),
        ("how", r"how (?:to|do|does|can|could|should|would|will|may|might) (?:i |we )?|how\b"),
        ("how", r"(?:i|we) (?:(?:want|need|would like|am trying|are trying) to|must)\b"),
        ("when", r"when\b"),
        ("where", r"where\b"),
        ("why", r"why\b"),
        ("who", r"who\b"),
        ("whose", r"whose\b"),
        ("what", r"what\b|which\b"),
        ("may", r"(?:can|could|may) (?!you\b)"),
        ("whether", r"(?:is|are|am|do|does|did|was|were|will|would|has|have|had|should|shall|must|can|could|may)\b"),
    )
)
_ASKS = frozenset({"what", "whose"})
"""Content words that are ignored."""
_FUTURE = re.compile(r"\b(?:will|shall)\b")
_TIMELESS = frozenset({"when", "how long", "how much"})
"""Kinds of question that ask the same with "will" as without."""
_BEFORE_INFINITIVE = frozenset((
    "", "how", "need", "want", "have", "has", "like", "way", "able", "try", "trying", "possible", "going", "used",
    "allowed", "unable", *SELF,
))  # fmt: skip
"""What comes before a "to" that starts an infinitive without content."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """What is compared of a question."""

    kind: str
    future: bool
    words: tuple[str, ...]
    """Content words in order."""
    clauses: tuple[int, ...]
    """How many words come before each comma or colon."""
    quoted: tuple[str, ...]


def difference(one: str, other: str) -> str:
    """Why the two do not certainly ask the same, as text; empty when they do."""
    first, second = _read(one), _read(other)
    if _ASKS.issuperset(first.words) or _ASKS.issuperset(second.words):
        return "nothing to compare: no content words"
    if Counter(first.quoted) != Counter(second.quoted):
        return "other words in quotes"
    if first.words != second.words and not _moved(first, second) and not _moved(second, first):
        return _unlike(first.words, second.words)
    if first.kind != second.kind:
        return f"another kind of question: {first.kind}, {second.kind}"
    if first.future != second.future and first.kind not in _TIMELESS:
        return "about another time"
    return ""


def _unlike(one: Sequence[str], other: Sequence[str]) -> str:
    only, others = Counter(one) - Counter(other), Counter(other) - Counter(one)
    if not only and not others:
        return "the same words in another order"
    numbers = [word for word in (*only, *others) if any(sign.isdigit() for sign in word)]
    if numbers:
        return f"other numbers or codes: {', '.join(numbers)}"
    if "not" in only or "not" in others:
        return "one is negated"
    return f"other words: {', '.join((*only, *others))}"


def _moved(one: _Reading, other: _Reading) -> bool:
    """Whether `other` is `one` with the clause before a comma at the end."""
    return any(one.words[at:] + one.words[:at] == other.words for at in one.clauses)


def _read(question: str) -> _Reading:
    plain = unicodedata.normalize("NFKC", question).replace("’", "'").replace("`", "'")
    quoted = tuple(_QUOTED.findall(plain))
    text = " ".join(_marked(_QUOTED.sub(r" \1 ", plain)).casefold().split()).rstrip(" .?!")
    for pattern, put in (*_CONTRACTED, *_WRITTEN):
        text = pattern.sub(put, text)
    before = ""
    while text != before:
        before = text
        text = TAILS.sub("", LEADS.sub("", text)).rstrip(" .?!")
    for pattern, put in PHRASES:
        text = pattern.sub(put, text)
    kind, rest = _kind(text)
    words, clauses = _words(rest, SILENT | {"cost"} if kind == "how much" else SILENT)
    return _Reading(
        kind,
        bool(_FUTURE.search(text)),
        words,
        clauses,
        quoted,
    )


def _marked(text: str) -> str:
    """Names spelt like other words, made distinct: IT, US, WHO, and May within a sentence."""
    if text.upper() == text:
        return text
    text = re.sub(r"(?<=[\w,] )May\b", "maymonth", text)
    return re.sub(r"\b(?:IT|US|WHO|AM|IS|BE|DO|ME|CAN)\b", lambda found: found[0] + "name", text)


def _kind(text: str) -> tuple[str, str]:
    """The kind of question, and the text without the question words. A clause may come before the question."""
    starts = [0, *(found.end() for found in re.finditer(r"[,:;.!?] ", text))]
    for start in starts:
        for kind, pattern in _KINDS:
            found = pattern.match(text, start)
            if found:
                end = start if kind in ("whether", "may", "what", "whose") else found.end()
                return kind, text[:start] + text[end:]
    return "statement", text


def _words(text: str, silent: Collection[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Content words, and how many of them come before each comma or colon."""
    words: list[str] = []
    clauses: list[int] = []
    tokens = _TOKEN.findall(text)
    for before, word, after in zip(["", *tokens], tokens, [*tokens[1:], ""], strict=False):
        if word in ",:;":
            clauses.append(len(words))
        elif _says(before, word, after, silent):
            words.append(_canonical(word))
    return _particles(words), tuple(clauses)


def _says(before: str, word: str, after: str, silent: Collection[str]) -> bool:
    """Whether a word carries content in its position."""
    if word == "to":
        return before not in _BEFORE_INFINITIVE
    if word == "do":
        # the verb itself, not its helper
        return before in SELF or before == "you"
    if word in ("on", "in") and _WEEKDAY.match(after):
        return False
    return word not in SELF and SAME.get(word, word) not in silent and (word[-1].isalnum() or word[-1] in "+#€$£%_")


def _canonical(word: str) -> str:
    word = NUMBERS.get(word, SAME.get(word, word))
    if word.isalpha() and len(word) > 3 and not word.endswith(("ss", "us", "is")):
        if word.endswith("ies"):
            word = word[:-3] + "y"
        elif word.endswith(("sses", "xes", "ches", "shes")):
            word = word[:-2]
        elif word.endswith("s"):
            word = word[:-1]
    return SAME.get(word, word)


def _particles(words: list[str]) -> tuple[str, ...]:
    """Verbs whose particle makes them: turn … on becomes enable."""
    found = list(words)
    for at, word in enumerate(found):
        if word not in ("turn", "switch"):
            continue
        for near in range(at + 1, min(at + 5, len(found))):
            if found[near] in ("on", "off"):
                found[at] = "enable" if found[near] == "on" else "disable"
                del found[near]
                break
    return tuple(found)
