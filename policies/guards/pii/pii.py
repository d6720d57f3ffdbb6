"""`pii`: personal data, redacted by default.

Patterns find data with a recognisable form; people, places and organisations are found only when the workflow names
a spaCy model. Without one this is not PII removal: names stay in the text.
"""

import asyncio
from collections.abc import Callable

from sluicegate.policies.guards.checking import PASS, Check, Finding, GuardKind, Helpers, Subject, Verdict
from sluicegate.policies.guards.config import PiiSettings
from sluicegate.policies.guards.pii.national_ids import NATIONAL_IDS, national_ids
from sluicegate.policies.guards.pii.recognizers import PATTERN_ENTITIES, recognise
from sluicegate.policies.guards.settings import GuardSettings

__all__ = ["KIND"]


def _make(settings: GuardSettings, helpers: Helpers) -> Check:
    assert isinstance(settings, PiiSettings)
    allowed = frozenset(text.casefold() for text in settings.allow)
    find = _by_presidio(settings, helpers) if settings.engine == "presidio" else _by_patterns(settings, helpers)

    def check(subject: Subject) -> Verdict:
        text = subject.text
        findings = [found for found in find(text) if not _spared(text[found.start : found.end], subject)]
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

    if settings.engine == "patterns" and not settings.model:
        return check

    async def aside(subject: Subject) -> Verdict:
        # Presidio and the model are slow, and other runs should not wait for them
        return await asyncio.to_thread(check, subject)

    return aside


def _by_patterns(settings: PiiSettings, helpers: Helpers) -> Callable[[str], list[Finding]]:
    patterns = tuple(entity for entity in settings.entities if entity in PATTERN_ENTITIES)
    national = tuple(entity for entity in settings.entities if entity in NATIONAL_IDS)
    named = tuple(entity for entity in settings.entities if entity not in (*PATTERN_ENTITIES, *NATIONAL_IDS))
    find_ids = national_ids(national) if national else None
    if not named:
        return lambda text: recognise(text, patterns, find_ids)
    from sluicegate.policies.guards.pii.names import named_entities

    find_names = named_entities(helpers.pipeline(settings.model))

    def find(text: str) -> list[Finding]:
        findings = recognise(text, patterns, find_ids)
        return findings + _beside(find_names(text, named), findings)

    return find


def _by_presidio(settings: PiiSettings, helpers: Helpers) -> Callable[[str], list[Finding]]:
    from sluicegate.policies.guards.pii.presidio import presidio

    pipeline = None
    if settings.model:
        from sluicegate.policies.guards.pii.names import pipeline_of

        pipeline = pipeline_of(helpers.pipeline(settings.model), ("parser", "senter"))
    return presidio(settings.entities, settings.score_threshold, pipeline)


def _beside(names: list[Finding], taken: list[Finding]) -> list[Finding]:
    """Names without what a pattern has found already; a partly covered name is cut, a wholly covered one dropped."""
    found: list[Finding] = []
    for name in names:
        start, end = name.start, name.end
        for other in taken:
            if other.start < end and start < other.end:
                start, end = (start, other.start) if start < other.start else (other.end, end)
        if end - start > 1:
            found.append(Finding(start, end, name.label))
    return found


KIND = GuardKind(
    name="pii",
    doc="No personal data of a recognisable form; names and places only with a spaCy model.",
    stages=frozenset({"request", "retrieved", "output"}),
    settings=PiiSettings,
    make=_make,
    quick=True,
    by_sentence=True,
    says="It seems to contain personal data. Please ask again without it.",
)
