"""A sentence as the words that are compared: folded, in one form of their inflection, without citation markers."""

import functools
import threading
from typing import Any

import regex

from sluicegate.policies.guards.detectors.prose import stem as english_stem
from sluicegate.policies.guards.grounding.lexicon import WITHOUT_SPACES, folded

__all__ = ["plain", "shared_start", "stem", "tokens"]

_MARKER = regex.compile(r"\[\d[\d,;\s–-]*\]")
_DIGITS = r"(?<!\p{L})\d+(?:[.,:/⁄]\d+)*|\d+"
_SPACED = regex.compile(rf"{_DIGITS}|[%$€£¥₹₽]|[\p{{L}}\p{{M}}]+(?:'[\p{{L}}\p{{M}}]+)*")
# Han signs one by one, for words are not marked; kana by runs, for an ending is one
_UNSPACED = regex.compile(rf"{_DIGITS}|[%$€£¥]|\p{{Han}}|\p{{Hiragana}}+|[\p{{Katakana}}ー]+|[\p{{L}}\p{{M}}]+")
_ELIDED = regex.compile(r"^(?:[cdjlmnst]|qu|un)'(?=.{2})")
_ELIDED_PREPOSITION = regex.compile(r"\b(dell|all|nell|dall|sull)'(?=\p{L})")
_PARTICLE = regex.compile(
    r"(?<=..)(?:에서는|에서|에게|으로는|으로|부터|까지|에는|이나|하고|보다|마다|처럼|께서|한테|밖에|라도|은|는|이|가|을|를|에|의|로|와|과|도|만)$"
)
_TURKISH_ENDING = regex.compile(r"(?<=[\d%$€£¥])'\p{L}+")
_INFINITIVE = regex.compile(
    r"(?<=^(?:ab|an|auf|aus|bei|durch|ein|fest|frei|her|hin|los|mit|nach|um|unter|vor|weg|weiter|zurück|zusammen))zu(?=.{3,}n$)"
)
"""What German puts into a verb with a prefix: "vorzulegen"."""
_ALGORITHMS = {
    "ar": "arabic", "de": "german", "es": "spanish", "fr": "french", "hi": "hindi", "it": "italian", "nl": "dutch",
    "pl": "polish", "pt": "portuguese", "ru": "russian", "tr": "turkish",
}  # fmt: skip
_LOCK = threading.Lock()
"""A stemmer works on itself."""


@functools.lru_cache(maxsize=4096)
def plain(text: str) -> str:
    """The text folded, with the digits of every script as 0 to 9 and without citation markers."""
    bare = folded(_MARKER.sub(" ", text))
    return "".join(str(int(c)) if c.isdecimal() else c for c in bare)


def tokens(text: str, language: str) -> list[str]:
    """The words and numbers of a `plain` text, in order."""
    if language == "tr":
        text = _TURKISH_ENDING.sub("", text)
    elif language == "it":
        text = _ELIDED_PREPOSITION.sub(r"\1 ", text)
    found: list[str] = (_UNSPACED if language in WITHOUT_SPACES else _SPACED).findall(text)
    return [_ELIDED.sub("", word) for word in found] if language in ("fr", "it") else found


@functools.lru_cache(maxsize=16384)
def stem(word: str, language: str) -> str:
    """One form for a word's inflections; crude, but the same on both sides. What stands for a value, as `quantities`
    writes numbers and units, has none."""
    if word.startswith(("#", "@")):
        return word
    if language == "en":
        return english_stem(word.removesuffix("'s"))
    if language == "ko":
        return _PARTICLE.sub("", word)
    if language not in _ALGORITHMS:
        return word
    if language == "de":
        word = _INFINITIVE.sub("", word)
    with _LOCK:
        return _stemmer(language).stemWord(word)


def shared_start(one: str, other: str) -> int:
    """How many letters two words have in common from their first on."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


@functools.cache
def _stemmer(language: str) -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer(_ALGORITHMS[language])
