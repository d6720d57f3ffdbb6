"""What is known of each language: its number words, days, months and units, and its function words.

`benchmarks/lexicon.py` writes the file from ICU, CLDR and stopwords-iso. `reversals.py` adds negations and limits.
"""

import functools
import gzip
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FILE", "LANGUAGES", "WITHOUT_SPACES", "LanguageLexicon", "folded", "lexicon"]

FILE = Path(__file__).with_name("lexicon.json.gz")
LANGUAGES = ("ar", "de", "en", "es", "fr", "hi", "it", "ja", "ko", "nl", "pl", "pt", "ru", "tr", "zh")
"""ISO 639-1 codes of the languages whose numbers and negations are known."""
WITHOUT_SPACES = frozenset({"ja", "zh"})
"""Languages that write no space between words."""

_LEFT_OUT = re.compile("[\u00ad\u0640\u064b-\u065f\u0670\u200b-\u200f\u093c]")
"""Soft hyphens, joiners, the Arabic vowel marks and lengthening, the dot below of Devanagari: written or not."""
_LETTERS = str.maketrans({"أ": "ا", "إ": "ا", "آ": "ا", "ى": "ي", "ё": "е", "ß": "ss", "ı": "i", "’": "'", "-": " "})


@dataclass(frozen=True, slots=True)
class LanguageLexicon:
    numbers: Mapping[str, float]
    """Values by their folded spelling, cardinal or ordinal; words are separated by one space."""
    terms: Mapping[str, str]
    """Days, months and units by their folded name, each as one name for all languages, such as ``monday``."""
    function_words: frozenset[str]
    """Words that carry little of what a sentence says; no numbers, and no negations."""


_NASAL = re.compile("ङ्(?=[क-घ])|ञ्(?=[च-झ])|ण्(?=[ट-ढ])|न्(?=[त-ध])|म्(?=[प-भ])|ँ")
"""What Devanagari may write as a dot, too: "पन्द्रह" is "पंद्रह"."""


def folded(text: str) -> str:
    """A text as its words are compared: one spelling for what is written in several ways."""
    plain = unicodedata.normalize("NFKC", text).casefold().replace("i̇", "i").translate(_LETTERS)
    if _LEFT_OUT.search(plain := unicodedata.normalize("NFC", plain)) or "\u093c" in unicodedata.normalize("NFD", text):
        plain = unicodedata.normalize("NFC", _LEFT_OUT.sub("", unicodedata.normalize("NFD", plain)))
    return " ".join(_NASAL.sub("ं", plain).split())


@functools.cache
def _every() -> dict[str, dict[str, dict[str, float]]]:
    return json.loads(gzip.decompress(FILE.read_bytes()))


@functools.cache
def lexicon(language: str) -> LanguageLexicon:
    """The lexicon of one of `LANGUAGES`."""
    one = _every()[language]
    return LanguageLexicon(one["numbers"], one["terms"], frozenset(one["function_words"]))  # pyright: ignore
