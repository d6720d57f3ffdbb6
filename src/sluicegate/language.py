"""Which language a text is in: the one place that the router, the guards and the index ask.

The model is py3langid's, restricted to the languages with a two-letter code (ISO 639-1): a request of one line is
otherwise shared out between a language and its regional varieties. Short texts get low probabilities, not wrong ones:
whoever acts on the language says from which probability on.
"""

import functools
from dataclasses import dataclass
from typing import Any

__all__ = ["UNDETERMINED", "Language", "detect"]

UNDETERMINED = "und"
"""The code (BCP 47) of a text without words, such as a number."""


@dataclass(frozen=True, slots=True)
class Language:
    """A language as ISO 639-1 code, and how probable it is among those that the model knows."""

    code: str
    probability: float


@functools.lru_cache(maxsize=1024)
def detect(text: str) -> Language:
    """The most probable language of a text; `UNDETERMINED` with probability 0 where it has no words."""
    if not any(character.isalpha() for character in text):
        return Language(UNDETERMINED, 0.0)
    code, probability = _identifier().classify(text)
    return Language(code, float(probability))


@functools.cache
def _identifier() -> Any:
    # without annotations; it takes two thirds of a second to load
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier: Any = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages([code for code in identifier.labels if len(code) == 2])
    return identifier
