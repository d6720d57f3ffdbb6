"""`length`: neither too short nor too long, and no repeated sentence."""

from collections import Counter

from sluicegate.policies.guards.checking import PASS, Check, GuardKind, Helpers, Subject, Verdict
from sluicegate.policies.guards.config import LengthSettings
from sluicegate.policies.guards.detectors.prose import content_words
from sluicegate.policies.guards.settings import GuardSettings
from sluicegate.segmentation import sentences

__all__ = ["KIND"]


def _make(settings: GuardSettings, helpers: Helpers) -> Check:
    del helpers
    assert isinstance(settings, LengthSettings)

    def check(subject: Subject) -> Verdict:
        size = len(subject.text.strip())
        if size < settings.min_chars:
            return Verdict(passed=False, reason=f"{size} characters, fewer than {settings.min_chars}")
        if size > settings.max_chars:
            return Verdict(passed=False, reason=f"{size} characters, more than {settings.max_chars}")
        if settings.max_sentences is not None and (count := len(sentences(subject.text))) > settings.max_sentences:
            return Verdict(passed=False, reason=f"{count} sentences, more than {settings.max_sentences}")
        if settings.max_repeats is not None and (times := _most_often(subject.text)) > settings.max_repeats:
            return Verdict(passed=False, reason=f"one sentence {times} times, more than {settings.max_repeats}")
        return PASS

    return check


def _most_often(text: str) -> int:
    """How often the most frequent sentence of several words occurs, ignoring case, marks and citations."""
    said = [tuple(content_words(sentence)) for sentence in sentences(text)]
    return max(Counter(words for words in said if len(words) > 1).values(), default=0)


KIND = GuardKind(
    name="length",
    doc="The text is neither too short nor too long, and does not repeat sentences.",
    stages=frozenset({"request", "retrieved", "output"}),
    settings=LengthSettings,
    make=_make,
    quick=True,
    by_sentence=True,
    says="It is longer, shorter or more repetitive than what can be answered here.",
)
