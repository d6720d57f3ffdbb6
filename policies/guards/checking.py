"""What a guard is: a function from a `Subject` to a `Verdict`.

A guard gets one text with its context and decides whether it passes, why not, and where. Its reason is shown to
operators and approvers and written to logs and traces, so it never quotes the text; findings are offsets with a label.
The requester reads the message of the guard's kind instead.
"""

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sluicegate.plugins import with_installed
from sluicegate.policies.guards.settings import GuardSettings
from sluicegate.state import GuardAction

__all__ = [
    "GROUP",
    "PASS",
    "Admitted",
    "Check",
    "Finding",
    "GuardKind",
    "Helpers",
    "Review",
    "Stage",
    "Subject",
    "Verdict",
    "installed_guards",
    "nobody",
]

GROUP = "sluicegate.guards"
"""The entry point group in which a package names its `GuardKind`s."""

Stage = Literal["request", "retrieved", "output"]

Review = Callable[[str, str], Awaitable[bool | None]]
"""The small model's review: ``await review(question, text)`` is True for a proper answer, None when the model gives no
verdict."""

Admitted = Callable[[], Awaitable[bool]]
"""Whether the reviewing model has passed its probe."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One text to check, with its context."""

    text: str
    stage: Stage
    question: str = ""
    sources: tuple[str, ...] = ()
    """The retrieved passages' texts, in citation order."""
    citations: int = 0
    """How many citations the answer's author resolved."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A place in the text; `start` and `end` are character offsets, `end` excluded."""

    start: int
    end: int
    label: str
    """What was found, such as ``email``; the placeholder is made of it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    passed: bool
    reason: str = ""
    """The reason, for operators; never quotes the text."""
    findings: tuple[Finding, ...] = ()
    action: GuardAction | None = None
    """The action, where it is not the configured one."""
    details: dict[str, float] = field(default_factory=dict[str, float])
    """Scores behind the verdict, for measuring."""


PASS = Verdict(passed=True)

Check = Callable[[Subject], Verdict | Awaitable[Verdict]]
"""A guard that is ready to run. It may raise: that counts as failed."""


async def nobody() -> bool:
    """Admits no model."""
    return False


@dataclass(frozen=True, slots=True)
class Helpers:
    """Outside resources that a guard may use."""

    review: Review | None = None
    admitted: Admitted = nobody
    pipeline: Callable[[str], str] = str
    """Resolves a spaCy model that the workflow names: to a package or a folder."""
    find: Callable[[str], Path] = Path
    """Resolves the folder of a fitted artifact that the workflow names."""


@dataclass(frozen=True, slots=True)
class GuardKind:
    """A kind of guard, as the registry knows it.

    `make` turns settings into a `Check`; it may load what the guard needs and raises `PolicyError` SG203 when that is
    missing.
    """

    name: str
    doc: str
    stages: frozenset[Stage]
    settings: type[GuardSettings]
    make: Callable[[GuardSettings, Helpers], Check]
    quick: bool = False
    """The check takes milliseconds at most and time linear in the text, so it needs no thread of its own."""
    by_sentence: bool | Callable[[Any], bool] = False
    """It can judge a draft that is still being written: what makes it fail is found once the sentence is complete that
    it stands in, and no sentence before that one is to blame. May follow from its settings."""
    says: str = "It did not pass a check."
    """The message for a requester whose request it stops, in whole sentences; a verdict's reason is for operators."""

    def judges_by_sentence(self, settings: GuardSettings) -> bool:
        return self.by_sentence(settings) if callable(self.by_sentence) else self.by_sentence


@functools.cache
def installed_guards() -> dict[str, GuardKind]:
    """The kinds of installed packages. Raises `ConfigError` SG116 when one cannot be used."""
    return with_installed((), group=GROUP, of=GuardKind, code="SG116", what="guard")
