"""`tone`: no insults, contempt, shouting, or promises that the organisation cannot keep."""

import re

from sluicegate.policies.guards.checking import PASS, Check, GuardKind, Helpers, Subject, Verdict
from sluicegate.policies.guards.config import ToneSettings
from sluicegate.policies.guards.detectors.folding import folded
from sluicegate.policies.guards.settings import GuardSettings

__all__ = ["KIND"]


def _any_of(*parts: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(parts)})\b")


_PATTERNS: dict[str, re.Pattern[str]] = {
    "an insult": _any_of(
        r"idiot(?:s|ic)?",
        r"moron(?:s|ic)?",
        r"imbeciles?",
        r"dumb(?:ass|est)?",
        r"stupid(?:ity|ly)?",
        r"losers?",
        r"pathetic",
        r"worthless (?:person|user|employee|fool)",
        r"fools?\b(?![ -]?proof)",
        r"jerks?",
        r"scum",
        r"dimwits?",
        r"you(?:'re| are) (?:so |really |just )?(?:lazy|useless|incompetent|hopeless|clueless|ignorant|ridiculous)",
        r"shut up",
        r"screw you",
        r"go to hell",
        r"get lost",
        r"drop dead",
    ),
    "coarse language": _any_of(
        r"f+u+c+k\w*",
        r"sh[i1]t(?:ty|s)?",
        r"bullshit",
        r"crap(?:py)?",
        r"assholes?",
        r"bastards?",
        r"bitch(?:es|y)?",
        r"damn(?:ed)? (?:it|you|fool|thing)",
        r"piss(?:ed)? off",
        r"wtf",
        r"stfu",
    ),
    "contempt for the reader": _any_of(
        r"(?:as|like) (?:i|we) (?:have )?(?:already|just) (?:told|said|explained)(?: to)?(?: you)?",
        r"how many times (?:do|must|should|have) (?:i|we)",
        r"even (?:a child|you|an? (?:toddler|five.year.old)) (?:can|could|should)",
        r"any(?:one|body) with (?:half )?a brain",
        r"is it (?:really )?(?:that|so) (?:hard|difficult) (?:for you )?to",
        r"stop (?:wasting|bothering)",
        r"(?:that|this|it)(?:'s| is) (?:a|such a) (?:dumb|silly|stupid|ridiculous) question",
        r"(?:not|that's not|isn't) my problem",
        r"(?:i|we) (?:really )?(?:don't|do not|couldn't) care",
        r"what(?:'s| is) wrong with you",
        r"(?:you )?should have (?:known better|read the (?:manual|docs|instructions))",
        r"deal with it",
        r"whatever you say",
        r"(?:are|were) you (?:even |actually )?(?:listening|paying attention|reading|serious)",
        r"if you (?:had )?bothered to",
        r"your own (?:damn )?fault",
        r"stop (?:complaining|whining)",
        r"read the (?:manual|docs) (?:next time|for once)",
    ),
    "a threat": _any_of(
        r"or else(?= *[.!])",
        r"you(?:'ll| will) (?:regret|pay for|be sorry)",
        r"don't make (?:me|us)",
        r"last warning",
    ),
}

_PROMISES = _any_of(
    r"(?:i|we) (?:can |hereby |personally |absolutely |fully )?(?:guarantee|promise)\b(?! (?:nothing|you nothing))",
    r"(?:100 ?%|hundred percent|absolutely|completely|totally) (?:guaranteed|certain|safe|risk[- ]free|secure)",
    r"guaranteed (?:to|returns?|results?|approval)",
    r"(?:is|are|has|have|carries) (?:absolutely )?no risks?",
    r"will never (?:fail|happen again|break)",
    r"you (?:definitely|certainly|clearly) (?:have|are suffering from) (?:a |an )?(?:disease|cancer",
    r"|disorder|condition|infection|depression)",
    r"you will (?:definitely|certainly) (?:win|get|be approved|receive)",
    r"no need to (?:see|consult|ask) (?:a|your) (?:doctor|lawyer|physician)",
    r"this is (?:legally binding|legal advice|medical advice|investment advice)",
    r"doubles? your money",
)

_WORD = re.compile(r"[A-Za-z]{3,}")
_ACRONYM_LENGTH = 5
"""Capitals up to this length are as likely an acronym as a shout."""


def _make(settings: GuardSettings, helpers: Helpers) -> Check:
    del helpers
    assert isinstance(settings, ToneSettings)

    def check(subject: Subject) -> Verdict:
        plain = folded(subject.text).replace("’", "'")
        faults = [fault for fault, pattern in _PATTERNS.items() if pattern.search(plain)]
        if settings.promises and _PROMISES.search(plain):
            faults.append("an unkeepable promise")
        if _shouts(subject.text):
            faults.append("shouting")
        if (marks := subject.text.count("!")) > settings.exclamations:
            faults.append(f"{marks} exclamation marks")
        return Verdict(passed=False, reason=", ".join(faults)) if faults else PASS

    return check


def _shouts(text: str) -> bool:
    words = _WORD.findall(text)
    loud = [word for word in words if word.isupper()]
    long = [word for word in loud if len(word) > _ACRONYM_LENGTH]
    return len(loud) >= 4 and len(long) >= 2 and len(loud) > len(words) / 2


KIND = GuardKind(
    name="tone",
    doc="No insults, contempt, threats, coarse language, shouting or unkeepable promises.",
    stages=frozenset({"output"}),
    settings=ToneSettings,
    make=_make,
    quick=True,
    by_sentence=True,
)
