"""`citations`: every marker, such as ``[2]`` or ``[1, 3]``, points to a passage that was given."""

import re

from sluicegate.policies.guards.checking import PASS, Check, GuardKind, Helpers, Subject, Verdict
from sluicegate.policies.guards.config import CitationSettings
from sluicegate.policies.guards.settings import GuardSettings

__all__ = ["KIND", "markers"]

_MARKER = re.compile(r"\[(\d{1,4}(?:\s*[,;–-]\s*\d{1,4})*)\](?!\()")
_NO_ANSWER = re.compile(
    r"\b(?:(?:do|does|did|could|can)(?: not|n[o']t) (?:know|find|have|contain|mention|say|cover)"
    r"|no (?:information|article|passage|source)s?\b|not (?:mentioned|covered|found) in)",
    re.IGNORECASE,
)


def markers(text: str) -> list[int]:
    """The passage numbers that a text's markers name, in order; ``[2-4]`` names three. A link's ``[1](…)`` is none."""
    numbers: list[int] = []
    for found in _MARKER.finditer(text):
        for part in re.split(r"\s*[,;]\s*", found[1]):
            first, _, last = (piece.strip() for piece in part.replace("–", "-").partition("-"))
            # of a range such as [1-9999] only the ends: enough to be found wrong
            many = last and int(last) - int(first) in range(100)
            numbers += range(int(first), int(last) + 1) if many else [int(n) for n in (first, last) if n]
    return numbers


def _make(settings: GuardSettings, helpers: Helpers) -> Check:
    del helpers
    assert isinstance(settings, CitationSettings)

    def check(subject: Subject) -> Verdict:
        cited, given = markers(subject.text), len(subject.sources)
        wrong = sorted({number for number in cited if not 1 <= number <= given})
        if wrong:
            named = ", ".join(f"[{number}]" for number in wrong[:5])
            return Verdict(passed=False, reason=f"cites {named}, but {given} passages were given")
        if settings.required and given and not cited and not _NO_ANSWER.search(subject.text):
            return Verdict(passed=False, reason="cites no passage")
        return PASS

    return check


KIND = GuardKind(
    name="citations",
    doc="Citation markers are present and point to given passages.",
    stages=frozenset({"output"}),
    settings=CitationSettings,
    make=_make,
    quick=True,
    by_sentence=True,
)
