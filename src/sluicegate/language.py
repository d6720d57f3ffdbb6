"""Which language a text is in: the one place that the router, the guards and the index ask.

The model is py3langid's, restricted to the languages with a two-letter code (ISO 639-1): a request of one line is
otherwise shared out between a language and its regional varieties. Short texts get low probabilities, not wrong ones:
whoever acts on the language says from which probability on.
"""

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sluicegate.errors import UnwritableError

__all__ = ["CERTAIN", "CONFIDENT", "UNDETERMINED", "Language", "chances", "detect", "language_of", "probability_of"]

UNDETERMINED = "und"
"""The code (BCP 47) of a text without words, such as a number."""
CONFIDENT = 0.6
"""From this probability on a request's language is written down. Of the 3,000 English requests of CLINC150's validation
part, which have 8 words on average, 94 % are taken for English at 0.6, and none for another language."""
CERTAIN = 0.9
"""From this probability on a document counts as one in its language."""
ENOUGH = 2000
"""Characters that are looked at: a longer text is no clearer, and takes longer."""


@dataclass(frozen=True, slots=True)
class Language:
    """A language as ISO 639-1 code, and how probable it is among those that the model knows."""

    code: str
    probability: float


@functools.lru_cache(maxsize=1024)
def detect(text: str) -> Language:
    """The most probable language of a text; `UNDETERMINED` with probability 0 where it has no words."""
    found = chances(text)
    code = max(found, key=found.__getitem__, default=UNDETERMINED)
    return Language(code, found.get(code, 0.0))


@functools.lru_cache(maxsize=1024)
def chances(text: str) -> Mapping[str, float]:
    """The probability of each language that the model knows; empty for a text without words."""
    text = text[:ENOUGH]
    if not any(character.isalpha() for character in text):
        return {}
    return {code: float(probability) for code, probability in _identifier().rank(text)}


def probability_of(text: str, languages: Collection[str]) -> float:
    """That the text is in one of these languages."""
    return sum(probability for code, probability in chances(text).items() if code in languages)


def language_of(text: str, *, least: float = CONFIDENT) -> str:
    """The code of the language of a text; empty where it is less probable than `least`."""
    found = detect(text)
    return found.code if found.probability >= least else ""


@functools.cache
def _identifier() -> Any:
    # without annotations; it takes two thirds of a second to load
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    try:  # it unpacks its model into the folder for temporary files
        identifier: Any = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    except OSError as error:
        raise UnwritableError(
            f"cannot load the detection of languages: {error}", hint="Free space in the temporary folder"
        ) from error
    identifier.set_languages([code for code in identifier.labels if len(code) == 2])
    return identifier
