"""`pii`: personal data, redacted by default.

Patterns find data with a recognisable form; people, places and organisations are found only when the workflow names
an installed spaCy model. Without one this is not PII removal: names stay in the text.
"""

from sluicegate.policies.guards.checking import PASS, Check, GuardKind, Helpers, Subject, Verdict
from sluicegate.policies.guards.config import GuardSettings, PiiSettings
from sluicegate.policies.guards.recognizers import PATTERN_ENTITIES, recognise

__all__ = ["KIND"]


def _make(settings: GuardSettings, helpers: Helpers) -> Check:
    del helpers
    assert isinstance(settings, PiiSettings)
    allowed = frozenset(text.casefold() for text in settings.allow)
    patterns = tuple(entity for entity in settings.entities if entity in PATTERN_ENTITIES)
    named = tuple(entity for entity in settings.entities if entity not in PATTERN_ENTITIES)
    if named:
        from sluicegate.policies.guards.names import named_entities

        find_names = named_entities(settings.model)
    else:
        find_names = None

    def check(subject: Subject) -> Verdict:
        text = subject.text
        findings = recognise(text, patterns)
        if find_names:
            taken = list(findings)
            findings += [
                found
                for found in find_names(text, named)
                if all(found.end <= other.start or found.start >= other.end for other in taken)
            ]
        findings = [found for found in findings if not _spared(text[found.start : found.end], subject)]
        if not findings:
            return PASS
        counts = {
            label: sum(found.label == label for found in findings) for label in sorted({f.label for f in findings})
        }
        reason = "found " + ", ".join(f"{count} {label}" for label, count in counts.items())
        return Verdict(passed=False, reason=reason, findings=tuple(sorted(findings)))

    def _spared(value: str, subject: Subject) -> bool:
        if value.casefold() in allowed:
            return True
        return settings.allow_from_sources and any(value in source for source in subject.sources)

    return check


KIND = GuardKind(
    name="pii",
    doc="Personal data with a recognisable form; names and places only with an installed spaCy model.",
    stages=frozenset({"request", "retrieved", "output"}),
    settings=PiiSettings,
    make=_make,
    quick=True,
)
