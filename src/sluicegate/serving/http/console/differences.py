"""What an edit changes, in pieces: a text word by word, arguments one by one."""

import re
from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import Any, Literal, NamedTuple

__all__ = ["Piece", "changed_arguments", "text_difference"]

_WORDS = 4_000
"""Pieces of either text beyond which it is compared line by line, and lines beyond which it is shown as replaced whole:
the comparison may take the square of their number."""


class Piece(NamedTuple):
    what: Literal["same", "out", "in"]
    text: str


def text_difference(before: str, after: str) -> list[Piece]:
    """Joined, the pieces that are not ``in`` are `before`, those that are not ``out`` are `after`."""
    old, new = re.findall(r"\s+|\w+|[^\w\s]", before), re.findall(r"\s+|\w+|[^\w\s]", after)
    if max(len(old), len(new)) > _WORDS:
        old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    if max(len(old), len(new)) > _WORDS:
        old, new = [before], [after]
    pieces: list[Piece] = []
    for kind, old_from, old_to, new_from, new_to in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            pieces.append(Piece("same", "".join(old[old_from:old_to])))
            continue
        if old_to > old_from:
            pieces.append(Piece("out", "".join(old[old_from:old_to])))
        if new_to > new_from:
            pieces.append(Piece("in", "".join(new[new_from:new_to])))
    return pieces


def changed_arguments(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """The names whose values differ, each with both; None where there is none."""
    names = dict.fromkeys((*before, *after))
    return [(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)]
