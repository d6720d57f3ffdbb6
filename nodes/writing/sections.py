"""A draft under headings: joined and split again, so that each section is checked and repaired separately."""

from collections.abc import Sequence

from sluicegate.state import Answer, CheckResult

__all__ = ["BY_SECTION", "headed", "merged", "parted"]

BY_SECTION = frozenset({"grounded", "citations"})
"""Guards that compare a text with its passages, and so give a verdict on each section."""


def headed(heading: str, text: str) -> str:
    """One section, as `parted` finds it again."""
    return f"{heading}\n{text}" if heading else text


def parted(answer: Answer) -> dict[str, str]:
    """The sections' texts by heading, in order; empty for a draft without sections or without its headings.

    Read from the current draft: a redaction or a person may have changed it since it was written.
    """
    headings = answer.get("sections", [])
    if not headings:
        return {}
    text, found = f"\n\n{answer['text']}", dict[str, str]()
    starts: list[int] = []
    for heading in headings:
        start = text.find(f"\n\n{heading}\n", starts[-1] + 1 if starts else 0)
        if start < 0:
            return {}
        starts.append(start)
    for heading, start, end in zip(headings, starts, [*starts[1:], len(text)], strict=True):
        found[heading] = text[start + len(heading) + 3 : end].strip()
    return found


def merged(guard: str, by_heading: Sequence[tuple[str, CheckResult]]) -> CheckResult:
    """One guard's verdicts on all sections as one result; its reason names the sections."""
    wrong = [(heading, result) for heading, result in by_heading if not result["passed"]]
    return {
        "guard": guard,
        "passed": not wrong,
        "action": wrong[0][1]["action"] if wrong else "pass",
        "reason": "; ".join(f"{heading}: {result['reason']}" for heading, result in wrong),
        "ms": round(sum(result["ms"] for _, result in by_heading), 3),
    }
