"""`length`: neither too short nor too long."""

from sluicegate.policies.guards.checking import PASS, Check, GuardKind, Helpers, Subject, Verdict
from sluicegate.policies.guards.config import GuardSettings, LengthSettings
from sluicegate.policies.guards.prose import sentences

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
        return PASS

    return check


KIND = GuardKind(
    name="length",
    doc="The text is neither too short nor too long.",
    stages=frozenset({"request", "retrieved", "output"}),
    settings=LengthSettings,
    make=_make,
    quick=True,
    says="It is longer or shorter than what can be answered here.",
)
