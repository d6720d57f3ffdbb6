"""`banned`: words, phrases and patterns that the workflow bans."""

from typing import Any

from sluicegate.errors import PolicyError
from sluicegate.policies.guards.checking import PASS, Check, Finding, GuardKind, Helpers, Subject, Verdict
from sluicegate.policies.guards.config import BannedSettings
from sluicegate.policies.guards.detectors.folding import fold, folded
from sluicegate.policies.guards.settings import GuardSettings

__all__ = ["KIND"]


def _make(settings: GuardSettings, helpers: Helpers) -> Check:
    del helpers
    assert isinstance(settings, BannedSettings)
    # unlike `re`, `regex` has a timeout: a workflow's pattern may backtrack endlessly
    import regex

    words = [regex.compile(_disguised(regex, folded(word))) for word in settings.words]
    patterns: list[Any] = []
    for pattern in settings.patterns:
        try:
            patterns.append(regex.compile(pattern, regex.IGNORECASE))
        except regex.error as error:
            raise PolicyError("SG203", f"banned pattern {pattern!r} is not a regular expression: {error}") from None
    seconds = settings.timeout_ms / 1000

    def check(subject: Subject) -> Verdict:
        plain, origin = fold(subject.text)
        findings = [
            Finding(origin[found.start()], origin[found.end() - 1] + 1, "banned")
            for word in words
            for found in word.finditer(plain, timeout=seconds, concurrent=True)
        ]
        findings += [
            Finding(found.start(), found.end(), "banned")
            for pattern in patterns
            for found in pattern.finditer(subject.text, timeout=seconds, concurrent=True)
            if found.end() > found.start()
        ]
        if not findings:
            return PASS
        return Verdict(passed=False, reason=f"banned content in {len(findings)} places", findings=tuple(findings))

    return check


def _disguised(regex: Any, word: str) -> str:
    """Matches the word as it is, and with one and the same separator between all its letters."""
    parts = word.split()
    plain = r"\W+".join(regex.escape(part) for part in parts)
    letters = [regex.escape(letter) for letter in "".join(parts)]
    spaced = rf"{letters[0]}(?P<gap>[\W_]){'(?P=gap)'.join(letters[1:])}" if len(letters) > 2 else plain
    return rf"(?<!\w)(?:{plain}|{spaced})(?!\w)"


KIND = GuardKind(
    name="banned",
    doc="None of the words, phrases and patterns that the workflow bans.",
    stages=frozenset({"request", "retrieved", "output"}),
    settings=BannedSettings,
    make=_make,
    by_sentence=lambda settings: not settings.patterns,  # a pattern may reach from one sentence into another
    says="It contains words that are not allowed here.",
)
