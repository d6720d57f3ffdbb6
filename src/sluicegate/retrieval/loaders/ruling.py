"""What is drawn on a page: the marks of lists, and the cells between lines.

The lines are PDFium's, since pdfplumber reads a page anew for them, letter by letter; which cells they make is found
by pdfplumber's way (A. Nurminen's master's thesis, Tampere 2013).
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from ctypes import c_float
from typing import Any

__all__ = ["Box", "drawn", "grids"]

Box = tuple[float, float, float, float]
"""Left, bottom, right and top, in points from the page's lower left corner."""

_MARK = 8.0
"""Points: the mark of a list is smaller, and as wide as high."""
_NEAR = 3.0
"""Points: lines that are no farther apart are one, and shorter ones none."""
_STRAIGHT = 0.5
"""Points by which a line may be askew."""
_MOST = 20_000
"""Lines of a page and parts of a path: a drawing has more."""
_MOST_CROSSINGS = 4_000
"""Of lines: a chart has more."""


def drawn(page: Any) -> tuple[list[Box], list[Box]]:
    """The marks of lists, and the lines, which are boxes without a width or a height."""
    from pypdfium2 import PdfiumError, raw

    library: Any = raw
    marks: list[Box] = []
    lines: list[Box] = []
    for path in page.get_objects(filter=[library.FPDF_PAGEOBJ_PATH], max_depth=3):
        with suppress(PdfiumError):
            box = path.get_bounds()
            if _is_mark(box):
                marks.append(box)
            elif len(lines) <= _MOST:
                lines += _lines(path, library)
    return marks, lines if len(lines) <= _MOST else []


def _is_mark(box: Box) -> bool:
    wide, high = box[2] - box[0], box[3] - box[1]
    return 1 < wide < _MARK and abs(wide - high) < 1


def _lines(path: Any, library: Any) -> Iterator[Box]:
    count = library.FPDFPath_CountSegments(path)
    if count > _MOST:
        return
    matrix, outer = path.get_matrix(), path.container
    while outer:
        matrix, outer = matrix.multiply(outer.get_matrix()), outer.container
    x, y = c_float(), c_float()
    first = last = (0.0, 0.0)
    for at in range(count):
        part = library.FPDFPath_GetPathSegment(path, at)
        kind = library.FPDFPathSegment_GetType(part)
        library.FPDFPathSegment_GetPoint(part, x, y)
        place = matrix.on_point(x.value, y.value)
        if kind == library.FPDF_SEGMENT_MOVETO:
            first = place
        elif kind == library.FPDF_SEGMENT_LINETO:
            yield from _straight(last, place)
        if library.FPDFPathSegment_GetClose(part):
            yield from _straight(place, first)
        last = place


def _straight(one: tuple[float, float], other: tuple[float, float]) -> Iterator[Box]:
    (left, right), (bottom, top) = sorted((one[0], other[0])), sorted((one[1], other[1]))
    if right - left <= _STRAIGHT < top - bottom:
        yield left, bottom, left, top
    elif top - bottom <= _STRAIGHT < right - left:
        yield left, bottom, right, bottom


def grids(lines: Sequence[Box]) -> list[list[Box]]:
    """The cells of each table of two columns or more that the lines make."""
    upright = sum(box[0] == box[2] for box in lines)
    if upright < 2 or len(lines) - upright < 2:
        return []
    from pdfplumber import table, utils

    library: Any = table
    geometry: Any = utils
    merged = library.merge_edges([_edge(box) for box in lines], _NEAR, _NEAR, _NEAR, _NEAR)
    crossings = library.edges_to_intersections(geometry.filter_edges(merged, min_length=_NEAR), _NEAR, _NEAR)
    if len(crossings) > _MOST_CROSSINGS:
        return []
    found = library.cells_to_tables(library.intersections_to_cells(crossings))
    boxes = [[(x0, -bottom, x1, -top) for x0, top, x1, bottom in each] for each in found]
    return [each for each in boxes if len({box[0] for box in each}) > 1]


def _edge(box: Box) -> dict[str, Any]:
    """A line as pdfplumber has it, whose places are counted from above."""
    left, bottom, right, top = box
    return {
        "object_type": "line",
        "orientation": "v" if left == right else "h",
        "x0": left,
        "x1": right,
        "top": -top,
        "bottom": -bottom,
        "doctop": -top,
        "width": right - left,
        "height": top - bottom,
    }
