"""The guard `example-plugin-no-shouting`: fails a text that is mostly capitals."""

from sluicegate import PASS, Check, GuardKind, GuardSettings, Helpers, Subject, Verdict


def _make(settings: GuardSettings, helpers: Helpers) -> Check:
    def check(subject: Subject) -> Verdict:
        letters = [letter for letter in subject.text if letter.isalpha()]
        shouting = letters and sum(letter.isupper() for letter in letters) / len(letters) > 0.7
        return Verdict(False, "the text is mostly capitals") if shouting else PASS

    return check


NO_SHOUTING = GuardKind(
    name="example-plugin-no-shouting",
    doc="The text is not mostly capitals.",
    stages=frozenset({"request", "output"}),
    settings=GuardSettings,
    make=_make,
    quick=True,
)
