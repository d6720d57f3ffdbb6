"""The text layer of a PDF into lines and tables, and these into Markdown.

The letters are PDFium's, which knows their order, ligatures and directions. Where lines are drawn, pdfplumber finds the
cells of tables; where none are, cells are told apart by wide spaces.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from ctypes import c_int, create_string_buffer
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sluicegate.retrieval.loaders.layout import Page, PageLine, PageTable, markdown

__all__ = ["read"]

_WIDE = 0.8
"""Of the height of letters: more than so much space lies between two cells, or between words of justified text."""
_FIXED = 1
"""The flag FixedPitch of a font (PDF 1.7, 9.8.2)."""
_FIXED_NAMES = re.compile(rb"mono|courier|consol|menlo|inconsolata|source ?code|fira ?code", re.IGNORECASE)
_MARK = 8.0
"""Points: the mark of a list is smaller, and as wide as high."""
_MARK_SPACE = 25.0


Box = tuple[float, float, float, float]
"""Left, bottom, right and top, in points from the page's lower left corner."""


@dataclass(frozen=True, slots=True)
class _Letter:
    text: str
    box: Box
    size: float
    """Of its font, in points; 0 for a space or a line end that PDFium adds."""
    fixed: bool
    """As wide as every other of its font, as code is."""


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
        shapes = [_shapes(page) for page in document]
        grids = _grids(path, [number for number, drawn in enumerate(shapes) if not all(map(_is_mark, drawn))])
        pages = [
            _page(_letters(page), [*filter(_is_mark, drawn)], grids.get(number, []))
            for number, (page, drawn) in enumerate(zip(document, shapes, strict=True))
        ]
    finally:
        document.close()
    # PDFium gives a letter beyond the first plane as two halves
    text = markdown(pages).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text, title.strip()


def _letters(page: Any) -> list[_Letter]:
    """What is written, in the page's own order, with the spaces and line ends that PDFium finds."""
    from pypdfium2 import raw

    library: Any = raw
    layer = page.get_textpage()
    box, name, flags = library.FS_RECTF(), create_string_buffer(128), c_int()
    found: list[_Letter] = []
    fonts: dict[tuple[bytes, int], bool] = {}
    for at in range(layer.count_chars()):
        text = chr(library.FPDFText_GetUnicode(layer, at))
        # as high as its font, whatever the letter
        library.FPDFText_GetLooseCharBox(layer, at, box)
        size = 0.0 if library.FPDFText_IsGenerated(layer, at) == 1 else library.FPDFText_GetFontSize(layer, at)
        library.FPDFText_GetFontInfo(layer, at, name, len(name), flags)
        font = name.value, flags.value
        if font not in fonts:
            fonts[font] = bool(font[1] & _FIXED or _FIXED_NAMES.search(font[0]))
        found.append(_Letter(text, (box.left, box.bottom, box.right, box.top), float(size), fonts[font]))
    layer.close()
    return found


def _shapes(page: Any) -> list[Box]:
    """What is drawn around lines and boxes, or as the mark of a list."""
    from pypdfium2 import PdfiumError, raw

    library: Any = raw
    found: list[Box] = []
    for each in page.get_objects(filter=[library.FPDF_PAGEOBJ_PATH], max_depth=3):
        with suppress(PdfiumError):
            found.append(each.get_bounds())
    return found


def _is_mark(box: Box) -> bool:
    wide, high = box[2] - box[0], box[3] - box[1]
    return 1 < wide < _MARK and abs(wide - high) < 1


def _grids(path: Path, numbers: Sequence[int]) -> dict[int, list[list[Box]]]:
    """The cells of the ruled tables of these pages that have two columns or more."""
    if not numbers:
        return {}
    import pdfplumber

    found: dict[int, list[list[Box]]] = {}
    # what its parser cannot read has no tables; the text is PDFium's
    with suppress(Exception), pdfplumber.open(path) as document:
        for number in numbers:
            page = document.pages[number]
            _, bottom, _, top = page.mediabox
            if not page.rotation:
                found[number] = [
                    [(x0, bottom + top - y1, x1, bottom + top - y0) for x0, y0, x1, y1 in each.cells]
                    for each in page.find_tables()
                    if len({cell[0] for cell in each.cells}) > 1
                ]
            page.close()
    return found


def _page(letters: Sequence[_Letter], marks: Sequence[Box], grids: Sequence[Sequence[Box]]) -> Page:
    """Its lines in the page's own order, and each table where the first of its letters is."""
    page: Page = []
    rest: list[_Letter] = []
    tables: dict[int, tuple[PageTable, list[_Letter]]] = {}
    around = [_around(cells) for cells in grids]
    for letter in letters:
        at = next(
            (
                n
                for n, box in enumerate(around)
                if _inside(letter, box) and any(_inside(letter, cell) for cell in grids[n])
            ),
            None,
        )
        if at is None:
            rest.append(letter)
            continue
        if at not in tables:
            page += _lines(rest, marks)
            rest = []
            tables[at] = PageTable([], ()), []
            page.append(tables[at][0])
        tables[at][1].append(letter)
    for at, (one, within) in tables.items():
        one.columns, one.rows = _read_grid(grids[at], within)
    # empty boxes are no table
    return [part for part in [*page, *_lines(rest, marks)] if isinstance(part, PageLine) or part.rows]


def _inside(letter: _Letter, box: Box) -> bool:
    left, bottom, right, top = letter.box
    return box[0] <= (left + right) / 2 <= box[2] and box[1] <= (bottom + top) / 2 <= box[3]


def _read_grid(cells: Sequence[Box], letters: Sequence[_Letter]) -> tuple[tuple[float, ...], list[list[str]]]:
    """Where its columns begin, and its rows; a cell that spans several places is in each of them."""
    columns, tops = sorted({cell[0] for cell in cells}), sorted({cell[3] for cell in cells}, reverse=True)
    said = {
        cell: " ".join("".join(letter.text for letter in letters if _inside(letter, cell)).split()) for cell in cells
    }

    def at(x: float, y: float) -> str:
        return next((said[cell] for cell in cells if cell[0] <= x < cell[2] and cell[1] < y <= cell[3]), "")

    rows = [[at(x, y) for x in columns] for y in tops]
    return tuple(columns), [row for row in rows if any(row)]


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
        code = all(letter.fixed for letter in seen)
        if last and beside and min(top, last.top) - max(bottom, last.bottom) > 0.4 * min(top - bottom, last.height):
            cells, edges = (*last.cells, text), (*last.edges, (left, right))
            lines[-1] = PageLine(
                cells, edges, min(bottom, last.bottom), max(top, last.top), last.size, last.code and code
            )
        else:
            if any(0 <= left - mark[2] < _MARK_SPACE and bottom < (mark[1] + mark[3]) / 2 < top for mark in marks):
                text = f"• {text}"
            lines.append(PageLine((text,), ((left, right),), bottom, top, seen[0].size, code))
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
            if last and letter.box[0] - last.box[2] > _WIDE * height:
                yield part
                part = []
            last = letter
        part.append(letter)
    yield part


def _around(boxes: Sequence[Box]) -> Box:
    left, bottom = min(box[0] for box in boxes), min(box[1] for box in boxes)
    return left, bottom, max(box[2] for box in boxes), max(box[3] for box in boxes)
