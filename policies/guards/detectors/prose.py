"""Content words of a text, as the guards on answers and the quoting of sources read them.

One run reads the sentences of its passages several times, and the next run often retrieves the same passages: what is
read of one sentence is kept for a while, in memory only.
"""

import functools
import re

__all__ = ["NEGATIONS", "STOP_WORDS", "content_words", "stem", "word_set"]

_STOP_WORDS_LISTED = """
    a about after again all also am an and any are as at be because been before being between both but by can
    could did do does doing done during each either else ever every for from further had has have having he her
    here hers him his how i if in into is it its itself just let may me might more most must my nor of off on
    once one only or other our out over own please same shall she should so some such than that the their them
    then there these they this those through to too under until up us very via was we were what when where
    whether which while who whom why will with within would yes you your yours s t d ll re ve m
    """
STOP_WORDS = frozenset(_STOP_WORDS_LISTED.split())

_NEGATIONS_LISTED = """
    no not never none nobody nothing neither nor cannot without isn't aren't wasn't weren't don't doesn't didn't
    won't wouldn't can't couldn't shouldn't mustn't hasn't haven't hadn't
    """
NEGATIONS = frozenset(_NEGATIONS_LISTED.split())

_MARKER = re.compile(r"\[\d{1,3}(?:\s*[,;–-]\s*\d{1,3})*\]")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


@functools.lru_cache(maxsize=8192)
def stem(word: str) -> str:
    """A word without its commonest English endings; crude on purpose: it only has to be the same on both sides."""
    for ending, least in (("ies", 3), ("ing", 4), ("edly", 4), ("ed", 4), ("ly", 4), ("es", 4), ("s", 3), ("e", 4)):
        if word.endswith(ending) and len(word) - len(ending) >= least and not word.endswith("ss"):
            word = word[: -len(ending)] + ("y" if ending == "ies" else "")
            break
    return word[:-1] if word.endswith("e") and len(word) > 4 else word


@functools.lru_cache(maxsize=8192)
def word_set(text: str) -> frozenset[str]:
    """The different content words."""
    return frozenset(content_words(text))


def content_words(text: str) -> list[str]:
    """Stemmed words without stop words, negations and citation markers, in order."""
    found = [word.casefold().replace("’", "'") for word in _WORD.findall(_MARKER.sub(" ", text))]
    bare = [word.removesuffix("'s") for word in found]
    return [stem(word) for word in bare if word not in STOP_WORDS and word not in NEGATIONS and "'" not in word]
