"""Placeholders instead of what was found, and the way back.

A placeholder is the label and a number, such as ``<EMAIL_1>``; equal texts get equal placeholders, so that a redacted
text still says who is who. `restore` undoes `redact` for a person who may see the original.
"""

import re
from collections.abc import Iterable, Mapping

from sluicegate.policies.guards.checking import Finding

__all__ = ["merged", "redact", "restore"]


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Disjoint findings in order of place; overlapping ones become one that covers them, labelled as the longest."""
    result: list[Finding] = []
    widest = 0
    for found in sorted(findings):
        if found.end <= found.start:
            continue
        if result and found.start < result[-1].end:
            last = result[-1]
            label = found.label if found.end - found.start > widest else last.label
            widest = max(widest, found.end - found.start)
            result[-1] = Finding(last.start, max(last.end, found.end), label)
        else:
            result.append(found)
            widest = found.end - found.start
    return result


def redact(text: str, findings: Iterable[Finding]) -> tuple[str, dict[str, str]]:
    """The text with placeholders, and what each placeholder stands for.

    A number that would make a placeholder the text already holds is left out, so that `restore` gives `text` back.
    """
    parts: list[str] = []
    mapping: dict[str, str] = {}
    known: dict[tuple[str, str], str] = {}
    counts: dict[str, int] = {}
    at = 0
    for found in merged(findings):
        name = re.sub(r"[^A-Z0-9]+", "_", found.label.upper())
        original = text[found.start : found.end]
        placeholder = known.get((name, original))
        while placeholder is None:
            counts[name] = counts.get(name, 0) + 1
            candidate = f"<{name}_{counts[name]}>"
            if candidate not in text:
                placeholder = known[name, original] = candidate
                mapping[candidate] = original
        parts += text[at : found.start], placeholder
        at = found.end
    return "".join([*parts, text[at:]]), mapping


def restore(text: str, mapping: Mapping[str, str]) -> str:
    """The text with its placeholders replaced by what they stand for; unknown ones stay."""
    if not mapping:
        return text
    return re.sub("|".join(map(re.escape, mapping)), lambda found: mapping[found[0]], text)
