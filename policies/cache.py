"""The answer cache: one key for equal requests of equal readers on equal facts."""

import hashlib
import json
import unicodedata
from collections.abc import Sequence

__all__ = ["answer_key"]


def answer_key(*, digest: str, request: str, visible: Sequence[str], versions: Sequence[str]) -> str:
    """The key of an answer: workflow digest, normalised request, what the principal may see, versions of the indexes.

    Normalising folds case, spacing and closing punctuation; digits and negations stay, since "1000" is not "10000".
    """
    words = " ".join(unicodedata.normalize("NFC", request).casefold().split()).rstrip(" .!?")
    return hashlib.sha256(json.dumps([digest, words, list(visible), list(versions)]).encode()).hexdigest()
