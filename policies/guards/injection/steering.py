"""Signs that a text tries to steer the model: named features for the linear classifier of `injection`.

A feature is a pair of concepts close together in one sentence (a verb that sets rules aside and a word for rules), or
a single telling phrase. Each is counted separately in plain and in quoted text. A
document about attacks quotes them; an attack gives orders. The form of a pair counts too: as an order at the head of
a clause, as a question, about oneself, or in a sentence that reports. Concepts are stems in English and two dozen other
languages, folded as the text is; in scripts that write no spaces, or join articles to words, a stem may occur anywhere.
Squeezed readings (see `disguises`) are searched with the squeezed stems.
"""

import json
import re
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from sluicegate.policies.guards.detectors.folding import folded
from sluicegate.policies.guards.injection.disguises import Reading, squeeze

__all__ = ["FEATURES", "features"]

_LEXICON: dict[str, Any] = json.loads(Path(__file__).with_name("steering.json").read_text(encoding="utf-8"))
_CONCEPTS: dict[str, list[str]] = {
    concept: sorted({folded(stem) for stem in stems}) for concept, stems in _LEXICON["concepts"].items()
}
"""Stems by concept; ``*`` stands for any ending, ``*_*`` for any name with an underscore."""
_PAIRS: list[tuple[str, str]] = [(first, second) for first, second in _LEXICON["pairs"]]
_SINGLE: list[str] = _LEXICON["single"]
_HARMLESS = re.compile("|".join(re.escape(folded(phrase)) for phrase in _LEXICON["harmless"]))
"""``Do not forget to`` in many languages: the verb sets nothing aside."""

_ROLE_MARKER = re.compile(
    r"(?:^|[\n>\]\"'.;:-]\s*|\s)(?:system|assistant|developer|sys|admin|systeme|sistema"
    r"|root)\s?(?:message|prompt|note|override|update|alert|instruction)?\s?:\s*\S"
    r"|<\|?/?(?:system|im_start|im_end|assistant|endoftext|instructions?|admin)\b|\[/?(?:inst|system"
    r"|admin|tool[ _](?:output|result|response))\]|<<sys>>|#{2,}\s*(?:system|instruction|new instruction"
    r"|override|response)"
    r"|<!--|end of (?:user|document|context|input|system|prompt)|begin (?:system|admin|override|new)"
    r"|tool[ _](?:output|result|response)\s?:|\bresultat\s?:"
)
_ROLE_FIELD = re.compile(r"\"role\"\s?:\s?\"(?:system|assistant|developer)\"")
"""A forged message; its quotation marks are syntax."""
_EXFILTRATION = re.compile(
    r"!\[[^\]]{0,80}\]\(\s*(?:https?:)?//|<img[^>]{0,80}src"
    r"|https?://[^\s\"'<>]{0,120}[?&][\w-]{1,20}=\S{0,80}(?:canary|secret|\{|token|data|prompt|sys|leak"
    r"|key)|https?://[^\s\"'<>]{0,60}[?&](?:d|q|data|leak|secret|exfil|c|x|p|payload)="
)
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")
_SENT_TO_ADDRESS = re.compile(
    r"\b(?:send|email|mail|forward|post|upload|transmit|export|share|envoye\w*|schick\w*)\b[^.\n]{0,40}"
    r"\b(?:conversation|history|salar\w+|customer|client|credential|password|secret|token|record|database"
    r"|contact|user|employee|internal)\w*"
    r"[^\n]{0,30}(?:[\w.+-]+@[\w-]+\.\w+|https?://)"
)
_ABOUT = re.compile(
    r"\b(?:quot(?:e|es|ed|ing)|example|examples|exemple|documentation|docs|article|paper|report|benchmark"
    r"|detectors?|training|note|slide|lesson|fixture|tests?|explain\w*|describ\w*"
    r"|phrases?|patterns?|samples?|changelog|release notes|readme|guide|guidance|blog|module|analysts?"
    r"|threats?|attack|attacks|red-team|corpora|dataset|transcript|untrusted|owasp|ncsc"
    r"|classif\w*|flag|flagged|flags|detect\w*|blocked|refus\w*|discuss\w*|stud(?:y|ies)|awareness"
    r"|learners|students|postmortem|policy|literal|string|documented|defen[sc]es?|regression|rule|lists?"
    r"|mention\w*|research\w*|literature|taxonomy|illustrat\w*|demonstrat\w*|unsafe|malicious|suspicious"
    r"|injection|jailbreak\w*|coverage|false positives?|snapshot|annotate|exercise|quiz|workshop|teaches"
    r"|course)\b"
)
_QUOTED = re.compile(
    r"\"[^\"\n]{3,400}\"|(?<!\w)'[^'\n]{3,400}'(?!\w)|“[^”\n]{3,400}”|«[^»\n]{3,400}»|`[^`\n]{3,400}`|‘[^’\n]{3,400}’"
)
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+|\|")
_LABEL_TAIL = re.compile(r"\b(?:[0-9a-f]{16,}|[a-z]{2,6}\d?-[a-z]-\d{3,})\b")
_ORDERS = frozenset(
    {"override", "new-orders", "persona", "calls", "dangerous", "privilege", "own-prompt", "unasked", "become", "order"}
)
_WINDOW = 60
_SQUEEZED_WINDOW = 60


_KEY = 3
"""Prefix length by which stems are looked up: one dictionary instead of a thousand alternatives at every word."""
_WORD = re.compile(r"\w+")
_SPACE = re.compile(r"\s+")

_Places = dict[str, list[tuple[int, int]]]


@cache
def _stems() -> tuple[dict[str, list[tuple[str, bool, str]]], dict[str, list[tuple[str, bool, str]]]]:
    """Stems that are within one word, by their first letters, and those of several words, by the first of them: the
    stem, whether any ending may follow, and its concept."""
    words: dict[str, list[tuple[str, bool, str]]] = {}
    phrases: dict[str, list[tuple[str, bool, str]]] = {}
    for concept, stems in _CONCEPTS.items():
        for stem in stems:
            if not stem.startswith("*") and not _anywhere(stem):
                plain = stem.rstrip("*")
                first = _WORD.match(plain)
                if first and first[0] != plain:
                    phrases.setdefault(first[0], []).append((plain, stem.endswith("*"), concept))
                elif first:
                    words.setdefault(plain[:_KEY], []).append((plain, stem.endswith("*"), concept))
    return words, phrases


@lru_cache(maxsize=8192)
def _concepts_of(word: str) -> tuple[str, ...]:
    """The concepts that one word stands for."""
    by_key = _stems()[0]
    return tuple(
        concept
        for length in range(1, _KEY + 1)
        for stem, open_end, concept in (by_key.get(word[:length], ()) if length <= len(word) else ())
        if word == stem or (open_end and word.startswith(stem))
    )


@cache
def _endings() -> list[tuple[str, re.Pattern[str], str]]:
    """Patterns of the stems that any beginning may precede, each with letters that it contains, and its concept."""
    return [
        (max(stem.split("*"), key=len), re.compile(r"\w*".join(re.escape(part) for part in stem.split("*"))), concept)
        for concept, stems in _CONCEPTS.items()
        for stem in stems
        if stem.startswith("*") and stem != "*_*"
    ]


def _anywhere(stem: str) -> bool:
    """Whether the stem's script has no spaces between words, or joins particles to them: not Latin, Greek, Cyrillic."""
    return any(character >= "\u0590" for character in stem)


@cache
def _unspaced() -> list[tuple[re.Pattern[str], str]]:
    found = {concept: [stem for stem in stems if _anywhere(stem)] for concept, stems in _CONCEPTS.items()}
    return [(re.compile("|".join(map(re.escape, stems))), concept) for concept, stems in found.items() if stems]


_NAME_WITH_UNDERSCORE = re.compile(r"[a-z]+_[a-z_]+")
_UNDERSCORED = [concept for concept, stems in _CONCEPTS.items() if "*_*" in stems]


def _places(text: str) -> _Places:
    """The positions of each concept in a text whose white space is single spaces."""
    places: _Places = {}
    phrases = _stems()[1]
    for found in _WORD.finditer(text):
        word, at = found[0], found.start()
        for concept in _concepts_of(word):
            places.setdefault(concept, []).append(found.span())
        for stem, open_end, concept in phrases.get(word, ()):
            end = at + len(stem)
            if text.startswith(stem, at) and (open_end or end == len(text) or not _is_word(text[end])):
                places.setdefault(concept, []).append((at, _word_end(text, end) if open_end else end))
    for letters, pattern, concept in _endings():
        for found in pattern.finditer(text) if letters in text else ():
            places.setdefault(concept, []).append(found.span())
    for pattern, concept in _unspaced() if not text.isascii() and _anywhere(text) else ():
        for found in pattern.finditer(text):
            places.setdefault(concept, []).append(found.span())
    for found in _NAME_WITH_UNDERSCORE.finditer(text) if "_" in text else ():
        for concept in _UNDERSCORED:
            places.setdefault(concept, []).append(found.span())
    return places


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _word_end(text: str, at: int) -> int:
    while at < len(text) and _is_word(text[at]):
        at += 1
    return at


@cache
def _squeezed_concepts() -> dict[str, re.Pattern[str]]:
    return {concept: _squeezed(stems) for concept, stems in _CONCEPTS.items()}


def _squeezed(stems: list[str]) -> re.Pattern[str]:
    # short stems occur in other words by chance once the spaces are gone
    forms = {squeeze(stem) for stem in stems}
    words = sorted((form for form in forms if len(form) >= 4), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, words)) or r"(?!)")


_MANNERS = ("ordered", "asked", "of one's own", "reported", "to an address")
"""The form of a pair's sentence: an order at the head of a clause, a question, about oneself, a report; or where
something is sent."""
_MANNER_OF = {"how": "asked", "mine": "of one's own", "aside": "reported"}
_HEAD = re.compile(
    r"(?:^|[,:;.!?(\[>*\"'\u2013\u2014-])\s*"
    r"(?:(?:and|then|please|now|so|also|first|just|und|dann|bitte|jetzt|et|puis|maintenant|y|luego|ahora|por favor|e"
    r"|poi|ora|agora|en|dan|nu|i|oraz|teraz|och|sedan|og|ja|a|pak|es|si|ve|simdi|lutfen|и)\s+){0,2}$"
)
_HEADED = 24
"""Characters before a verb in which its clause may begin."""

FEATURES: tuple[str, ...] = (
    *(f"{a}+{b}" for a, b in _PAIRS),
    *(f"{a}+{b} quoted" for a, b in _PAIRS),
    *_SINGLE,
    "role marker",
    "exfiltration link",
    "address",
    "sent to an address",
    "about attacks",
    "about attacks, quoting",
    "pairs",
    "pairs quoted",
    "hidden",
    "role marker, ordering",
    *(f"pairs {manner}" for manner in _MANNERS),
)
"""Names of the features, in the order of the weights."""


def features(reading: Reading) -> list[float]:
    """The features of one reading, in the order of `FEATURES`."""
    values = _squeezed_features(reading.text) if reading.squeezed else _plain_features(reading.text)
    values["hidden"] = float(reading.hidden and (values.get("pairs", 0) > 0))
    return [float(values.get(name, 0.0)) for name in FEATURES]


def _plain_features(text: str) -> dict[str, float]:
    text = _HARMLESS.sub(" ", _LABEL_TAIL.sub(" ", text).replace("’", "'"))
    forged = bool(_ROLE_FIELD.search(text))
    outside = text if forged else _QUOTED.sub("   ", text)
    values: dict[str, float] = {}
    own, present, manners = _pairs(outside)
    quoted = _pairs(text)[0] - own if outside != text else set[str]()
    values.update({f"pairs {manner}": 1.0 for manner in manners})
    values.update(dict.fromkeys(own, 1.0))
    values.update({f"{pair} quoted": 1.0 for pair in quoted})
    values.update({name: float(name in present) for name in _SINGLE})
    values["role marker"] = float(forged or bool(_ROLE_MARKER.search(outside)))
    values["role marker, ordering"] = values["role marker"] * float(bool(present & _ORDERS))
    values["exfiltration link"] = float(bool(_EXFILTRATION.search(text)))
    values["address"] = float("@" in outside and bool(_EMAIL.search(outside)))
    values["sent to an address"] = float(bool(_SENT_TO_ADDRESS.search(outside)))
    values["about attacks"] = min(len(set(_ABOUT.findall(outside))), 3) / 3
    values["about attacks, quoting"] = values["about attacks"] * float(outside != text)
    values["pairs"] = min(len(own), 3) / 3
    values["pairs quoted"] = min(len(quoted), 3) / 3
    return values


def _pairs(text: str) -> tuple[set[str], set[str], set[str]]:
    """The pairs within one sentence, every concept of the text, and the forms of the pairs."""
    pairs: set[str] = set()
    present: set[str] = set()
    manners: set[str] = set()
    for sentence in _SENTENCE.split(text):
        plain = _SPACE.sub(" ", sentence).strip()
        places = _places(plain)
        present |= places.keys()
        close = _close(places, _WINDOW)
        if close:
            pairs |= close
            manners |= {manner for concept, manner in _MANNER_OF.items() if concept in places}
            verbs = {pair.split("+")[0] for pair in close}
            if places.keys() & {"data", "credential"} and "send" in places and _EMAIL.search(plain):
                manners.add("to an address")
            if any(_heads(plain, at) for verb in verbs for at, _ in places[verb]):
                manners.add("ordered")
    return pairs, present, manners


def _heads(sentence: str, at: int) -> bool:
    """Whether a clause begins at `at`, but for a word that joins or asks politely."""
    # a letter before the piece that was cut off, so that the cut is not taken for the beginning
    before = sentence[:at] if at <= _HEADED else f"x{sentence[at - _HEADED : at]}"
    return bool(_HEAD.search(before))


def _squeezed_features(text: str) -> dict[str, float]:
    places: _Places = {}
    for concept, pattern in _squeezed_concepts().items():
        found = [match.span() for match in pattern.finditer(text)]
        if found:
            places[concept] = found
    pairs = _close(places, _SQUEEZED_WINDOW)
    return {
        **dict.fromkeys(pairs, 1.0),
        **{name: float(name in places) for name in _SINGLE},
        "pairs": min(len(pairs), 3) / 3,
    }


def _close(places: _Places, window: int) -> set[str]:
    return {
        f"{first}+{second}"
        for first, second in _PAIRS
        if first in places
        and second in places
        and any(_near(one, other, window) for one in places[first] for other in places[second])
    }


def _near(first: tuple[int, int], second: tuple[int, int], window: int) -> bool:
    """In either order, without overlap, at most `window` characters apart."""
    gap = second[0] - first[1] if second[0] >= first[1] else first[0] - second[1]
    return 0 <= gap <= window
