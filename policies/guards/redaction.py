"""Redaction: placeholders instead of findings, and their restoration.

A placeholder is the label and a number, such as ``<EMAIL_1>``; equal texts get equal placeholders, so that a redacted
text still says who is who. `restore` undoes `redact` for a person who may see the original, and `conceal` puts known
placeholders back into a text that somebody has restored.
"""

import re
from collections.abc import Collection, Iterable, Mapping

from sluicegate.policies.guards.checking import Finding

__all__ = ["conceal", "kind_of", "merged", "placeholders_in", "redact", "restore", "unnumbered"]

_PLACEHOLDER = re.compile(r"<[A-Z0-9_]+_\d+>")
_SHORT = 6
"""Values shorter than this are replaced only as whole words."""


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


def kind_of(placeholder: str) -> str:
    """``credit-card`` of ``<CREDIT_CARD_1>``."""
    return placeholder[1:].rsplit("_", 1)[0].lower().replace("_", "-")


def placeholders_in(text: str) -> set[str]:
    """Everything in a text that looks like a placeholder, regardless of its origin."""
    return set(_PLACEHOLDER.findall(text))


def unnumbered(text: str) -> str:
    """The text with ``<EMAIL>`` for each ``<EMAIL_1>``, which no run can restore."""
    return _PLACEHOLDER.sub(lambda found: found[0].rsplit("_", 1)[0] + ">", text)


def redact(
    text: str,
    findings: Iterable[Finding],
    known: Mapping[str, str] | None = None,
    taken: Collection[str] = (),
) -> tuple[str, dict[str, str]]:
    """The text with placeholders, and what each placeholder in it stands for.

    `known` are the placeholders issued before, which the same values get again, and `taken` those that may not be
    issued. One that the text already contains is not issued either, so that `restore` gives `text` back.
    """
    known, parts = known or {}, list[str]()
    mapping: dict[str, str] = {}
    issued = {(placeholder.rsplit("_", 1)[0], value): placeholder for placeholder, value in known.items()}
    counts: dict[str, int] = {}
    at = 0
    for found in merged(findings):
        name = re.sub(r"[^A-Z0-9]+", "_", found.label.upper())
        original = text[found.start : found.end]
        placeholder = issued.get((f"<{name}", original))
        while placeholder is None:
            counts[name] = counts.get(name, 0) + 1
            candidate = f"<{name}_{counts[name]}>"
            if candidate not in text and candidate not in known and candidate not in taken:
                placeholder = issued[f"<{name}", original] = candidate
        mapping[placeholder] = original
        parts += text[at : found.start], placeholder
        at = found.end
    return "".join([*parts, text[at:]]), mapping


def restore(text: str, mapping: Mapping[str, str]) -> str:
    """The text with its placeholders replaced by what they stand for; unknown ones stay."""
    if not mapping:
        return text
    return re.sub("|".join(map(re.escape, mapping)), lambda found: mapping[found[0]], text)


def conceal(text: str, mapping: Mapping[str, str]) -> str:
    """The text with every value of `mapping` replaced by its placeholder, longer values first."""
    if not mapping or not text:
        return text
    back = {value: placeholder for placeholder, value in mapping.items()}
    values = sorted(back, key=len, reverse=True)
    pattern = "|".join(rf"(?<!\w){re.escape(v)}(?!\w)" if len(v) < _SHORT else re.escape(v) for v in values)
    return re.sub(pattern, lambda found: back[found[0]], text)
