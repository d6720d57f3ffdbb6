"""`slm-review`: a review by the small model, once it has passed its probe, or by a fitted head."""

import logging

from sluicegate.errors import StoppedError
from sluicegate.policies.guards.checking import PASS, Check, GuardKind, Helpers, Subject, Verdict
from sluicegate.policies.guards.config import SlmReviewSettings
from sluicegate.policies.guards.settings import GuardSettings

__all__ = ["KIND"]

_log = logging.getLogger(__name__)
_SKIPPED = "skipped: the reviewing model has not passed its probe"


def _make(settings: GuardSettings, helpers: Helpers) -> Check:
    assert isinstance(settings, SlmReviewSettings)

    async def check(subject: Subject) -> Verdict:
        if helpers.review is None or not await helpers.admitted():
            _log.warning("guard slm-review %s", _SKIPPED)
            fallback = settings.when_not_admitted
            return Verdict(passed=fallback == "pass", reason=_SKIPPED, action=fallback)
        try:
            opinion = await helpers.review(subject.question, subject.text)
        except StoppedError as stopped:
            return Verdict(passed=False, reason=f"the reviewing model may not be called: {stopped}")
        if opinion is None:
            return Verdict(passed=False, reason="the reviewing model gave no verdict")
        return PASS if opinion else Verdict(passed=False, reason="the reviewer rejects this answer")

    return check


KIND = GuardKind(
    name="slm-review",
    doc="A review by the small model once it has passed its probe, or by a head fitted to labelled drafts.",
    stages=frozenset({"output"}),
    settings=SlmReviewSettings,
    make=_make,
    quick=True,
)
