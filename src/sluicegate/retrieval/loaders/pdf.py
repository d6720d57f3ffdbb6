"""The text layer of a PDF into lines and tables, and these into Markdown.

The letters are PDFium's, which knows their order, ligatures and directions. Where lines are drawn, these make the cells
of tables (`ruling`); where none are, cells are told apart by wide spaces.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from ctypes import addressof, c_int, create_string_buffer
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from sluicegate.retrieval.loaders.fonts import FIXED_WIDTH
from sluicegate.retrieval.loaders.layout import Page, PageLine, PageTable, markdown, wrapped
from sluicegate.retrieval.loaders.ruling import Box, drawn, grids

__all__ = ["read"]

_WIDE = 0.8
"""Of the height of letters: more than so much space lies between two cells, or between words of justified text."""
_FIXED = 1
"""The flag FixedPitch of a font (PDF 1.7, 9.8.2)."""
_FIXED_NAMES = re.compile(FIXED_WIDTH.encode(), re.IGNORECASE)
_TURN = math.pi / 12
"""Letters that are turned by this or more, and others not, are no part of the lines around them: a stamp in the margin,
or a word across the page."""
_BOLD = 1 << 18
"""The flag ForceBold."""
_BOLD_NAMES = re.compile(rb"bold|black|heavy|CMBX|-Medi\b", re.IGNORECASE)
_MARK_SPACE = 25.0


@dataclass(frozen=True, slots=True)
class _Letter:
    text: str
    box: Box
    size: float
    """Of its font, in points; 0 for a space or a line end that PDFium adds."""
    fixed: bool
    """As wide as every other of its font, as code is."""
    bold: bool
    turned: int = 0
    """By how many times `_TURN`."""


def read(path: Path) -> tuple[str, str, tuple[str, ...]]:
    """Its text as Markdown, its title, and notes on pages that cannot be read. Raises `ValueError`."""
    import pypdfium2

    library: Any = pypdfium2
    try:
        document = library.PdfDocument(path)
    except library.PdfiumError as error:
        locked = "password" in str(error).casefold()
        raise ValueError("is encrypted" if locked else "not a PDF that can be read") from error
    pages: list[Page] = []
    damaged: list[str] = []
    try:
        title = str(document.get_metadata_dict().get("Title") or "")
        for number in range(len(document)):
            try:
                page = document[number]
                marks, lines = drawn(page)
                pages.append(_page(_letters(page), marks, grids(lines) if not page.get_rotation() else []))
            except library.PdfiumError:
                damaged.append(str(number + 1))
    finally:
        document.close()
    # PDFium gives a letter beyond the first plane as two halves
    text = markdown(pages).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    note = f"pages that cannot be read are left out: {', '.join(damaged)}"
    return text, title.strip(), (note,) if damaged else ()


def _letters(page: Any) -> list[_Letter]:
    """What is written, in the page's own order, with the spaces and line ends that PDFium finds."""
    from pypdfium2 import raw

    library: Any = raw
    layer = page.get_textpage()
    box, name, flags = library.FS_RECTF(), create_string_buffer(128), c_int()
    found: list[_Letter] = []
    # of each object of the page its font's size, whether that is of one width and bold, and the angle
    objects: dict[int, tuple[float, bool, bool, float]] = {}
    seen: set[tuple[str, int, int]] = set()
    for at in range(layer.count_chars()):
        text = chr(library.FPDFText_GetUnicode(layer, at))
        # as high as its font, whatever the letter
        library.FPDFText_GetLooseCharBox(layer, at, box)
        made = library.FPDFText_IsGenerated(layer, at) == 1
        drawn = library.FPDFText_GetTextObject(layer, at)
        key = addressof(drawn.contents) if drawn else 0
        if key not in objects or not key:
            library.FPDFText_GetFontInfo(layer, at, name, len(name), flags)
            objects[key] = (
                float(library.FPDFText_GetFontSize(layer, at)),
                bool(flags.value & _FIXED or _FIXED_NAMES.search(name.value)),
                bool(flags.value & _BOLD or _BOLD_NAMES.search(name.value)),
                0.0 if made else library.FPDFText_GetCharAngle(layer, at),
            )
        size, fixed, bold, angle = objects[key]
        place = box.left, box.bottom, box.right, box.top
        spots = () if made else _spots(text, box.left, box.bottom)
        if not seen.isdisjoint(spots):
            continue  # printed twice, for a shadow or in bold
        seen.update(spots)
        found.append(_Letter(text, place, 0.0 if made else size, fixed, bold, round(angle / _TURN)))
    layer.close()
    return found


def _spots(text: str, left: float, bottom: float) -> tuple[tuple[str, int, int], tuple[str, int, int]]:
    """A letter at its place to half a point, in two grids so that places near to each other share one."""
    return (text, round(2 * left), round(2 * bottom)), (text, int(2 * left) - 10_000, int(2 * bottom))


def _page(letters: Sequence[_Letter], marks: Sequence[Box], ruled: Sequence[Sequence[Box]]) -> Page:
    """Its lines in the page's own order, each table where the first of its letters is, and last what is turned."""
    page: Page = []
    rest: list[_Letter] = []
    aside: list[_Letter] = []
    upright = Counter(letter.turned for letter in letters if letter.size).most_common(1)
    tables: dict[int, tuple[PageTable, dict[Box, list[_Letter]]]] = {}
    around = [_around(cells) for cells in ruled]
    within: tuple[int, Box] | None = None
    last = rest
    for letter in letters:
        # what PDFium adds between two letters has no place of its own
        if letter.size:
            within = _cell(letter, ruled, around, within)
            last = rest if letter.turned == upright[0][0] else aside
        if within is None:
            last.append(letter)
            continue
        at, cell = within
        if at not in tables:
            page += _lines(rest, marks)
            rest.clear()
            tables[at] = PageTable([], ()), {}
            page.append(tables[at][0])
        tables[at][1].setdefault(cell, []).append(letter)
    for at, (one, said) in tables.items():
        _read_grid(one, ruled[at], said)
    if alone := [at for at, (one, _) in tables.items() if len(one.columns) < 2]:
        # boxes around text
        return _page(letters, marks, [cells for at, cells in enumerate(ruled) if at not in alone])
    # however large, it heads nothing
    made = [*page, *_lines(rest, marks), *(replace(line, size=0.0) for line in _lines(aside, ()))]
    # empty boxes are no table
    return [part for part in made if isinstance(part, PageLine) or part.rows]


def _cell(
    letter: _Letter, ruled: Sequence[Sequence[Box]], around: Sequence[Box], last: tuple[int, Box] | None
) -> tuple[int, Box] | None:
    """The table and the cell that a letter is in; most are in that of the one before."""
    if last and _inside(letter, last[1]):
        return last
    tables = (at for at, box in enumerate(around) if _inside(letter, box))
    return next(((at, cell) for at in tables for cell in ruled[at] if _inside(letter, cell)), None)


def _inside(letter: _Letter, box: Box) -> bool:
    left, bottom, right, top = letter.box
    return box[0] <= (left + right) / 2 <= box[2] and box[1] <= (bottom + top) / 2 <= box[3]


def _read_grid(table: PageTable, cells: Sequence[Box], letters: Mapping[Box, Sequence[_Letter]]) -> None:
    """Where its columns begin, without those that are empty, and its rows; a cell that spans several places is in each
    of them, but one that is a whole row only once."""
    said = {cell: wrapped(line.text for line in _lines(within, ())) for cell, within in letters.items()}
    lefts, tops = sorted({cell[0] for cell in cells}), sorted({cell[3] for cell in cells}, reverse=True)

    def at(x: float, y: float) -> Box | None:
        return next((cell for cell in cells if cell[0] <= x < cell[2] and cell[1] < y <= cell[3]), None)

    rows = [[at(x, y) for x in lefts] for y in tops]
    rows = [row for row in rows if any(said.get(cell) for cell in row if cell)]
    whole = [len({*row}) == 1 for row in rows]
    filled = [
        n
        for n in range(len(lefts))
        if any(said.get(cell) for row, one in zip(rows, whole, strict=True) if not one and (cell := row[n]))
    ]
    first = next((row for row, one in zip(rows, whole, strict=True) if not one), ())
    table.spanning = any(above == beside for above, beside in pairwise(first[n] for n in filled) if above)
    table.columns = tuple(lefts[n] for n in filled)
    table.rows = [
        [said.get(cell, "") if (cell := row[n]) else "" for n in (filled[:1] or [0] if one else filled)]
        for row, one in zip(rows, whole, strict=True)
    ]


def _lines(letters: Sequence[_Letter], marks: Sequence[Box]) -> list[PageLine]:
    """Lines, of which each is cut into cells where the space is wide; before one is a bullet where a mark is drawn."""
    lines: list[PageLine] = []
    for part in _parts(letters):
        text = " ".join("".join(letter.text for letter in part).split())
        seen = [letter for letter in part if letter.size and not letter.text.isspace()]
        if not text or not seen:
            continue
        left, bottom, right, top = _around([letter.box for letter in seen])
        last = lines[-1] if lines else None
        beside = last and left >= last.edges[-1][1] - 1
        code, bold = all(letter.fixed for letter in seen), all(letter.bold for letter in seen)
        if last and beside and min(top, last.top) - max(bottom, last.bottom) > 0.4 * min(top - bottom, last.height):
            cells, edges = (*last.cells, text), (*last.edges, (left, right))
            low, high = min(bottom, last.bottom), max(top, last.top)
            lines[-1] = PageLine(cells, edges, low, high, last.size, last.code and code, last.bold and bold)
        else:
            if any(0 <= left - mark[2] < _MARK_SPACE and bottom < (mark[1] + mark[3]) / 2 < top for mark in marks):
                text = f"• {text}"
            lines.append(PageLine((text,), ((left, right),), bottom, top, seen[0].size, code, bold))
    return lines


def _parts(letters: Sequence[_Letter]) -> Iterator[list[_Letter]]:
    """Letters that follow each other on one line, without a wide space between them."""
    part: list[_Letter] = []
    last: _Letter | None = None
    for letter in letters:
        if letter.text in "\r\n\0":
            yield part
            part, last = [], None
            continue
        # PDFium writes a hyphen at a line's end as one of these, and no line end after it
        if letter.text in "\x02\ufffe":
            yield [*part, replace(letter, text="-")]
            part, last = [], None
            continue
        if letter.size and not letter.text.isspace():
            height = max(letter.box[3] - letter.box[1], last.box[3] - last.box[1]) if last else 0.0
            below = last and not letter.turned and (letter.box[3] <= last.box[1] or letter.box[1] >= last.box[3])
            if last and (below or letter.box[0] - last.box[2] > _WIDE * height):
                yield part
                part = []
            last = letter
        part.append(letter)
    yield part


def _around(boxes: Sequence[Box]) -> Box:
    left, bottom = min(box[0] for box in boxes), min(box[1] for box in boxes)
    return left, bottom, max(box[2] for box in boxes), max(box[3] for box in boxes)
