"""The parts of a text that are scored one by one: its beginning, and windows over all of it, in every reading."""

from collections.abc import Iterator

from sluicegate.policies.guards.injection.disguises import Reading, readings

__all__ = ["is_long", "parts"]

WINDOW = 800
"""Characters: an order hidden in a long passage must not be diluted by it."""
OVERLAP = 200
BEGINNING = 4_000
"""A long jailbreak is told by the whole of it."""


def is_long(text: str) -> bool:
    """Whether a text has several parts, of which any may be wrongly scored high."""
    return len(text) > WINDOW


def parts(text: str) -> Iterator[Reading]:
    """Every reading of every part; a text no longer than a window is one part."""
    yield from readings(text[:BEGINNING])
    if is_long(text):
        for start in range(0, len(text) - OVERLAP, WINDOW - OVERLAP):
            yield from readings(text[start : start + WINDOW])
