"""Chunking: documents into passages, each with its position and hash, along the segmentation that quotes share."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sluicegate.retrieval.config import ChunkConfig
from sluicegate.retrieval.loaders import Loaded
from sluicegate.segmentation import Segment, groups, segments

__all__ = ["Chunk", "content_hash", "cut", "searched"]

_WHOLE = 6_000
"""Characters of a sentence, a row or a block of code that are not cut, however small passages are."""


@dataclass(frozen=True, slots=True)
class Chunk:
    start: int
    """Character offset in the loaded document's text."""
    end: int
    text: str
    hash: str


def content_hash(text: str) -> str:
    """SHA-256 of a text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def searched(title: str, passage: str) -> str:
    """What is embedded and searched of a passage: its title too, and rows with their columns' names."""
    every = segments(passage)
    rows = any(segment.kind == "row" for segment in every)
    return "\n".join([title, *(segment.text for segment in every)]) if rows else f"{title}\n{passage}"


def cut(loaded: Loaded, chunk: ChunkConfig) -> list[Chunk]:
    """Passages in reading order, of whole sentences, rows and blocks of code.

    Sections stay together where they fit, else what belongs together (`segmentation.groups`), else paragraphs. What is
    longer than a passage may be is a passage of its own; beyond `_WHOLE` characters it is cut at white space.
    `loaded.text[passage.start:passage.end]` is a passage's text, but for the header of a table that began before it.
    """
    every = [_Unit(*_extent(loaded.text, group), group) for group in groups(loaded.text)]
    passages: list[Chunk] = []
    for start, end, header in _spans(every, chunk, loaded):
        text = loaded.text[start:end]
        if header[0] < header[1] <= start:
            text = f"{loaded.text[header[0] : header[1]]}\n{text}"
        passages.append(Chunk(start, end, text, content_hash(text)))
    return passages


@dataclass(frozen=True, slots=True)
class _Unit:
    """A stretch of text that is kept in one passage where it fits."""

    start: int
    end: int
    segments: Sequence[Segment]


def _spans(units: Sequence[_Unit], chunk: ChunkConfig, loaded: Loaded) -> Iterator[tuple[int, int, tuple[int, int]]]:
    """Start, end and table header of each passage."""
    packs = [[unit] for unit in units] if loaded.records else [*_packed(_sections(units), chunk)]
    for pack in packs:
        start, end = pack[0].start, pack[-1].end
        if end - start <= max(chunk.size, _WHOLE):
            yield start, end, pack[0].segments[0].header
            continue
        size = chunk.size - 2
        for found in re.finditer(rf"\S(?:(?s:.{{0,{size}}})\S(?!\S)|\S{{0,{size}}})", loaded.text[start:end]):
            yield start + found.start(), start + found.end(), (0, 0)


def _sections(units: Sequence[_Unit]) -> Iterator[list[_Unit]]:
    """Each heading with what follows up to the next one."""
    section: list[_Unit] = []
    for unit in units:
        if section and unit.segments[0].kind == "heading" and section[-1].segments[-1].kind != "heading":
            yield section
            section = []
        section.append(unit)
    if section:
        yield section


def _packed(parts: Iterable[Sequence[_Unit]], chunk: ChunkConfig) -> Iterator[list[_Unit]]:
    """As many parts to a passage as fit; a part that does not fit is packed by itself, from its own parts."""
    pack: list[_Unit] = []
    for part in parts:
        whole = _Unit(part[0].start, part[-1].end, [segment for unit in part for segment in unit.segments])
        if whole.end - whole.start > chunk.size and len(smaller := _smaller(part)) > 1:
            if pack:
                yield pack
            yield from _packed(smaller, chunk)
            pack = []
            continue
        if pack and whole.end - pack[0].start > chunk.size:
            yield [*pack]
            # it begins with the end of its predecessor, as far as that fits
            while pack and (pack[-1].end - pack[0].start > chunk.overlap or whole.end - pack[0].start > chunk.size):
                pack.pop(0)
        pack.append(whole)
    if pack:
        yield pack


def _smaller(part: Sequence[_Unit]) -> list[list[_Unit]]:
    """The parts of one that does not fit: a section's blocks, the first with its heading; a block's sentences."""
    blocks: list[list[_Unit]] = []
    for unit in part:
        before = blocks[-1][-1].segments[-1] if blocks else None
        if before and (before.kind == "heading" or before.block == unit.segments[0].block):
            blocks[-1].append(unit)
        else:
            blocks.append([unit])
    if len(blocks) > 1:
        return blocks
    if len(part) > 1:
        return [[unit] for unit in part]
    return [[_Unit(segment.start, segment.end, [segment])] for segment in part[0].segments]


def _extent(text: str, group: Sequence[Segment]) -> tuple[int, int]:
    """From where a group's line has its mark, such as that of a heading or a list item."""
    start = text.rfind("\n", 0, group[0].start) + 1
    mark = re.fullmatch(r"\s*((?:>\s*)*(?:#+|[-*+•]|\d{1,9}[.)])?\s*)", text[start : group[0].start])
    return (start + mark.start(1) if mark else group[0].start), group[-1].end
