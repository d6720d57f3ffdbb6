"""The text layer of a PDF into Markdown: lines into paragraphs by the space between them, columns into tables."""

import re
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from sluicegate.retrieval.loaders.grid import headed, table

__all__ = ["read"]

_GAP = 1.3
"""More than this share of the usual distance between two lines begins a paragraph."""
_LARGE = 1.15
"""Of the usual size of letters: a paragraph that begins in larger ones is a heading."""
_MARGIN_PAGES = 3
"""A first or last line that as many pages share, and half of all, is a header or footer."""
_ENDED = (".", "!", "?", ":", "。", "！", "？")


@dataclass(frozen=True, slots=True)
class _Line:
    cells: tuple[str, ...]
    edges: tuple[tuple[float, float], ...]
    """Left and right of each cell."""
    bottom: float
    top: float
    size: float
    """Of its font, in points; a line without tall letters is as high as its short ones."""

    @property
    def text(self) -> str:
        return " ".join(self.cells)

    @property
    def height(self) -> float:
        return self.top - self.bottom


def read(path: Path) -> tuple[str, str]:
    """Its text as Markdown, and its title. Raises `ValueError`."""
    import pypdfium2

    library: Any = pypdfium2
    try:
        document = library.PdfDocument(path)
    except library.PdfiumError as error:
        locked = "password" in str(error).casefold()
        raise ValueError("is encrypted" if locked else f"not a PDF that can be read: {error}") from error
    try:
        title = str(document.get_metadata_dict().get("Title") or "")
        pages = [_lines(document[number]) for number in range(len(document))]
    finally:
        document.close()
    return _markdown(_bodies(pages)), title.strip()


def _lines(page: Any) -> list[_Line]:
    """The lines from top to bottom in the page's own order; each is cut into cells where the space is wide."""
    layer = page.get_textpage()
    lines: list[_Line] = []
    for number in range(layer.count_rects()):
        left, bottom, right, top = layer.get_rect(number)
        # PDFium writes a hyphen at a line's end as a control character
        text = layer.get_text_bounded(left, bottom, right, top).replace("\x02", "-").replace("\x00", "")
        text = " ".join(text.split())
        if not text:
            continue
        last = lines[-1] if lines else None
        if last and min(top, last.top) - max(bottom, last.bottom) > 0.4 * min(top - bottom, last.height):
            begin, edge = last.edges[-1]
            if left - edge > 0.8 * max(top - bottom, last.height):
                cells, edges = (*last.cells, text), (*last.edges, (left, right))
            else:
                space = " " if left - edge > 0.5 else ""
                cells = (*last.cells[:-1], f"{last.cells[-1]}{space}{text}")
                edges = (*last.edges[:-1], (begin, right))
            lines[-1] = _Line(cells, edges, min(bottom, last.bottom), max(top, last.top), last.size)
        else:
            size = _size(layer, left, bottom, right, top)
            lines.append(_Line((text,), ((left, right),), bottom, top, size))
    layer.close()
    return lines


def _size(layer: Any, left: float, bottom: float, right: float, top: float) -> float:
    from pypdfium2 import raw

    library: Any = raw
    at = layer.get_index((left + min(right, left + 6)) / 2, (bottom + top) / 2, 6, 6)
    return float(library.FPDFText_GetFontSize(layer, at)) if at is not None else 0.0


def _bodies(pages: Sequence[list[_Line]]) -> list[list[_Line]]:
    """The pages without running headers and footers, which differ at most by a number."""

    def plain(line: _Line) -> str:
        return re.sub(r"\d+", "#", line.text)

    edges = Counter(text for page in pages if page for text in {plain(page[0]), plain(page[-1])})
    shared = {text for text, often in edges.items() if often >= max(_MARGIN_PAGES, len(pages) / 2)}
    return [
        [line for n, line in enumerate(page) if not (n in {0, len(page) - 1} and plain(line) in shared)]
        for page in pages
    ]


def _markdown(pages: Sequence[Sequence[_Line]]) -> str:
    blocks: list[str] = []
    for page in pages:
        made = [*_blocks(page)]
        goes_on = blocks and made and not blocks[-1].endswith(_ENDED) and made[0][:1].islower()
        if goes_on:
            blocks[-1] = _joined(blocks[-1], made.pop(0))
        blocks += made
    return "\n\n".join(blocks)


def _blocks(lines: Sequence[_Line]) -> Iterator[str]:
    spaces = [above.bottom - below.bottom for above, below in pairwise(lines)]
    usual = statistics.median([space for space in spaces if space > 0] or [0.0])
    size = statistics.median([line.size for line in lines] or [0.0])
    text, above, at = "", None, 0
    while at < len(lines):
        line = lines[at]
        if rows := _rows(lines[at:]):
            if text:
                yield text
            named = headed([*rows])
            yield table(rows[0] if named else [""] * len(rows[0]), rows[1:] if named else rows)
            text, above = "", None
            at += len(rows)
            continue
        bullet = re.match(r"[•◦▪‣●–]\s*", line.text)
        numbered = re.match(r"\d{1,2}[.)]\s", line.text) and text.endswith(_ENDED)
        if above and (bullet or numbered or _apart(above, line, usual)):
            yield text
            text = ""
        said = f"- {line.text[bullet.end() :]}" if bullet else line.text
        title = not text and line.size > _LARGE * size and not said.endswith(_ENDED)
        text = _joined(text, said) if text else f"## {said}" if title else said
        above = line
        at += 1
    if text:
        yield text


def _apart(above: _Line, line: _Line, usual: float) -> bool:
    """Whether a line begins a paragraph, by the space above it or the size of its letters."""
    space = above.bottom - line.bottom
    return space > _GAP * usual or space < 0 or abs(line.size - above.size) > 0.1 * above.size


def _rows(lines: Sequence[_Line]) -> list[tuple[str, ...]]:
    """The cells of the lines at the start that form a table: two or more with the same columns, and room between
    these from top to bottom, which justified text does not have."""
    gaps = [(left[1], right[0]) for left, right in pairwise(lines[0].edges)]
    found: list[tuple[str, ...]] = []
    for line in lines:
        own = [(left[1], right[0]) for left, right in pairwise(line.edges)]
        gaps = [(max(one[0], other[0]), min(one[1], other[1])) for one, other in zip(gaps, own, strict=False)]
        if not gaps or len(own) != len(lines[0].edges) - 1 or any(end - start < 1 for start, end in gaps):
            break
        found.append(line.cells)
    return found if len(found) > 1 else []


def _joined(text: str, line: str) -> str:
    """Two lines of a paragraph as one; a word that was divided at the line's end is one word again."""
    if re.search(r"[^\W\d_]-$", text) and line[:1].islower():
        return text[:-1] + line
    return f"{text} {line}"
