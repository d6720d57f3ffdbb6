"""A text as patterns read it: digits, full-width forms, dashes and blanks are ASCII's, and nothing is invisible.

Letters keep their case and their accents. Offsets in the original are kept, so what is found is redacted there.
"""

import functools
import unicodedata
from collections.abc import Sequence

from sluicegate.policies.guards.checking import Finding

__all__ = ["in_original", "plain_forms"]

_COMPATIBLE = frozenset({"Lu", "Ll", "Lt", "Lm", "Po", "Ps", "Pe", "Pi", "Pf", "Pc", "Sm", "Sk", "Sc", "So"})
"""Categories whose compatibility forms read alike; a superscript or a circled digit is no digit of a number."""


@functools.lru_cache(maxsize=4096)
def _plain(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category == "Pd" or character == "\u2212":
        return "-"
    if category == "Zs" or character == "\t":
        return " "
    if category == "Cf":
        return ""
    return unicodedata.normalize("NFKC", character) if category in _COMPATIBLE else character


def plain_forms(text: str) -> tuple[str, list[int] | None]:
    """The text, and the offset that each of its characters has in the original; None where those are the same."""
    if text.isascii() and "\t" not in text:
        return text, None
    parts = [_plain(character) for character in text]
    return "".join(parts), [at for at, part in enumerate(parts) for _ in part]


def in_original(findings: Sequence[Finding], origin: list[int] | None) -> list[Finding]:
    """Findings in a plain text, at their places in the original; `origin` is what `plain_forms` gave with it."""
    if origin is None:
        return list(findings)
    return [Finding(origin[found.start], origin[found.end - 1] + 1, found.label) for found in findings]
