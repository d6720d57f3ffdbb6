"""`grounded`: every sentence of an answer is supported by the retrieved passages.

What stands in a passage word for word is supported. Any other sentence is when enough of its content words are in the
passages, weighted by how rare each is there; every number, day and name in it is in a passage or in the question; and
it does not turn round the passage's statement that is nearest to it: by a negation on one side only, must for may,
another number, unit or word in the place of one, or two words that change places. It may not break off in the middle of
a passage's sentence. It compares words, not meaning: a
paraphrase in other words fails, a wrong recombination of the right words may pass. All that is known for the languages
in `grounding/lexicon.py`; in any other, only what stands in a passage word for word is supported.
`benchmarks/guards.py` measures it on labelled answers.
"""

import functools
import re
from collections.abc import Iterator

from sluicegate.language import detect
from sluicegate.policies.guards.checking import PASS, Check, GuardKind, Helpers, Subject, Verdict
from sluicegate.policies.guards.config import GroundedSettings
from sluicegate.policies.guards.grounding.lexicon import LANGUAGES, WITHOUT_SPACES, lexicon
from sluicegate.policies.guards.grounding.statements import Passages, Statement, clauses, fault, read
from sluicegate.policies.guards.settings import GuardSettings
from sluicegate.segmentation import sentences

__all__ = ["KIND", "unsupported"]

_MARKER = re.compile(r"\[\d[\d,;\s–-]*\]")
_COMMA = re.compile(r"[;,:]\s+|[，、；：،؛]\s*")
_MOST_CLAUSES = 20
"""Limit per sentence: a list of hundreds of items has more runs than are worth comparing."""
_ENDS = (".", "!", "?", "…", "。", "！", "？", "؟", "।", ":", ";")
_OPENING = ("(", "[", "„", "“", '"', "'", "«", "‘")
_FEWEST = 5
"""Words below which what stands in a passage may be an answer by itself, such as a name or a sum."""
_SURE = 0.8
"""Probability from which a draft's language is its own; below it the passages are read with it."""


def unsupported(text: str, sources: tuple[str, ...], question: str, support: float) -> list[tuple[int, str]]:
    """Sentences of `text` without support, as their number (from 1) and why; reasons quote nothing."""
    word_for_word = frozenset[str]().union(*(_quotable(source) for source in sources))
    language = _language(text, sources)
    faults: list[tuple[int, str]] = []
    own_words: list[tuple[int, str]] = []
    drafted = sentences(text)
    for number, sentence in enumerate(drafted, start=1):
        if _cut_off(sentence, sources, language, last=number == len(drafted)):
            faults.append((number, "ends in the middle of a sentence of a passage"))
        elif _bare(sentence) not in word_for_word:  # neither half is then compared with the whole
            own_words.append((number, sentence))
    if own_words:
        faults += _compared(own_words, sources, question, support, language)
    return sorted(faults)


def _compared(
    own_words: list[tuple[int, str]], sources: tuple[str, ...], question: str, support: float, language: str
) -> Iterator[tuple[int, str]]:
    """The faults of sentences that are not those of the passages. A draft of quotations needs none of this."""
    passages = Passages(tuple(statement for source in sources for statement in _statements(source, language)))
    asked = read(question, language if language in LANGUAGES else "en")
    for number, sentence in own_words:
        if language not in LANGUAGES:
            why = f"not word for word, and what negates and counts in its language ({language}) is not known"
        else:
            whys = (fault(part, passages, asked, support, language) for part in sentence.split("; "))
            why = next(filter(None, whys), "")
        if why:
            yield number, why


def _language(text: str, sources: tuple[str, ...]) -> str:
    own = detect(text)
    return own.code if own.probability >= _SURE else detect("\n".join((text, *sources))).code


@functools.lru_cache(maxsize=512)
def _statements(source: str, language: str) -> tuple[Statement, ...]:
    """A passage's sentences and their clauses."""
    if language not in LANGUAGES:
        return ()
    parts = (part for sentence in sentences(source) for part in dict.fromkeys((sentence, *clauses(sentence))))
    return tuple(read(part, language) for part in parts)


@functools.lru_cache(maxsize=512)
def _quotable(source: str) -> frozenset[str]:
    """What may be quoted of a passage."""
    return frozenset(_bare(run) for sentence in sentences(source) for run in _runs(sentence))


def _cut_off(sentence: str, sources: tuple[str, ...], language: str, *, last: bool) -> bool:
    """Whether a sentence repeats one of a passage word for word and breaks off in it: within a clause, and without an
    end of its own or on a word that leads to another one. Also a `last` one that leads to nothing by a colon."""
    said = " ".join(_MARKER.sub("", sentence).casefold().split())
    if last and said.endswith((":", "：")):
        return True
    ended = said.endswith(_ENDS)
    said = said.rstrip("".join(_ENDS) + " ")
    leads = language in LANGUAGES and said.rpartition(" ")[2] in lexicon(language).function_words
    if (ended and not leads) or _size(said, language) < _FEWEST:
        return False
    wholes = (whole for source in sources for whole in _wholes(source))
    after = [whole[at + len(said) :].lstrip() for whole in wholes if (at := whole.find(said)) >= 0]
    # where it also stands as a whole sentence or clause, nothing is missing
    return bool(after) and all(rest[:1].isalnum() or rest.startswith(_OPENING) for rest in after)


@functools.lru_cache(maxsize=512)
def _wholes(source: str) -> tuple[str, ...]:
    """A passage's sentences as they are searched for a part of one."""
    return tuple(" ".join(whole.casefold().split()) for whole in sentences(source))


def _size(text: str, language: str) -> int:
    """In words, of about two signs where no spaces are written."""
    return len(text) // 2 if language in WITHOUT_SPACES else len(text.split())


def _bare(sentence: str) -> str:
    return " ".join(re.sub(r"[;,:](?=\s)", "", _MARKER.sub("", sentence)).casefold().split()).rstrip(" .:;,。！？؟،")


def _runs(sentence: str) -> Iterator[str]:
    """The sentence, and each of its clauses and runs of adjacent ones."""
    parts = _COMMA.split(sentence)[:_MOST_CLAUSES]
    yield sentence
    yield from (" ".join(parts[start:end]) for end in range(1, len(parts) + 1) for start in range(end))


def _make(settings: GuardSettings, helpers: Helpers) -> Check:
    del helpers
    assert isinstance(settings, GroundedSettings)
    detect("The model of languages is loaded here, off the event loop.")

    def check(subject: Subject) -> Verdict:
        if not subject.text.strip():
            return PASS
        if not subject.sources:
            return Verdict(passed=False, reason="no supporting passages")
        faults = unsupported(subject.text, subject.sources, subject.question, settings.support)
        if len(faults) <= settings.unsupported:
            return PASS
        named = "; ".join(f"sentence {number}: {why}" for number, why in faults[:3])
        return Verdict(passed=False, reason=f"{len(faults)} unsupported, {named}")

    return check


KIND = GuardKind(
    name="grounded",
    doc="Every sentence is supported by a retrieved passage: words, numbers, names and negations.",
    stages=frozenset({"output"}),
    settings=GroundedSettings,
    make=_make,
    quick=True,
    by_sentence=True,
)
