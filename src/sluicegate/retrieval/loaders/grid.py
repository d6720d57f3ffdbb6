"""Tables into Markdown, and CSV of every dialect into tables."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import zip_longest

__all__ = ["naming", "read_csv", "table", "tables", "titles"]

_DELIMITERS = ",;\t|"
_SAMPLE = 200
"""Rows by which a CSV's delimiter is chosen."""
_MOST_ABOVE = 10
_FIGURE = re.compile(r"[-+]?[€$£]?\s*\d[\d.,'\s]*[%€$£]?")
_YEAR = re.compile(r"(?:19|20)\d\d")
# a field may be as long as a file may be, which `max_file_mb` bounds
csv.field_size_limit(2**31 - 1)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; rows of other lengths are filled up."""
    width = max(len(header), *(len(row) for row in rows)) if rows else len(header)
    lines = [_line(header, width), "|" + " --- |" * width]
    return "\n".join([*lines, *(_line(row, width) for row in rows)])


def _line(cells: Sequence[str], width: int) -> str:
    said = (" ".join(cell.split()).replace("|", "\\|") for cell in cells)
    return "| " + " | ".join([*said, *[""] * (width - len(cells))]) + " |"


def titles(rows: Sequence[Sequence[str]]) -> int:
    """How many rows, from the first, are one cell from end to end."""
    return next((number for number, row in enumerate(rows) if len(row) > 1), len(rows))


def tables(rows: Sequence[Sequence[str]], top: int) -> Iterator[str]:
    """The blocks of a table without `titles`, whose `top` first rows name the columns: a row that is one cell from end
    to end, as in `[text]`, is a paragraph, and the rows below it are a table with the same names."""
    names = _named(rows[:top]) or [""] * len(rows[0])
    rows = rows[top:]
    part: list[Sequence[str]] = []
    for row in rows:
        if len(row) > 1:
            part.append(row)
            continue
        if part:
            yield table(names, part)
        yield row[0]
        part = []
    if part or not rows:
        yield table(names, part)


def naming(rows: Sequence[Sequence[str]], *, spanning: bool) -> int:
    """How many rows name the columns, from the first, in a table that does not say so; with `spanning` a cell of the
    first row spans several of them, whose own names may be below it."""
    if _headed(rows):
        return 1
    if not spanning or len(rows) < 3 or not len(rows[0]) == len(rows[1]) > 1:
        return 0
    below = [*zip(*(row for row in rows[2:] if len(row) > 1), strict=False)]
    own = all(
        name == above
        or not re.search(r"\d", name)
        or _YEAR.fullmatch(name)
        or (not _is_figure(name) and _figures(cells))
        for above, name, cells in zip(*rows[:2], below, strict=False)
    )
    values = {cell for column in below[1:] for cell in column}
    return 2 if own and not values & {*rows[1]} and _headed([_named(rows[:2]), *rows[2:]]) else 0


def _named(rows: Sequence[Sequence[str]]) -> list[str]:
    """The names of the columns that these rows give them together."""
    return [" ".join({text: None for text in column if text}) for column in zip(*rows, strict=True)]


def _headed(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns of the others: each of its cells is a name, but for the corner above the
    names of the rows, and of pairs such as "Name:", "Ann" none is one."""
    rows = [row for row in rows if len(row) > 1]
    if len(rows) < 2 or len({len(row) for row in rows}) > 1 or len({*rows[0]}) < len(rows[0]):
        return False
    first, *below = ([cell.strip() for cell in row] for row in rows)
    corner = not first[0] and all(row[0] for row in below)
    columns = [*zip(*below, strict=True)]
    all_named = all(_names(cell, columns[at], first) for at, cell in enumerate(first) if at or not corner)
    return all_named and not all(row[0].endswith(":") for row in (first, *below))


def _names(cell: str, below: Sequence[str], first: Sequence[str]) -> bool:
    """Whether a cell of the first row can name what is below it: with figures in it, such as "Q1" or "2027", only as
    one of several alike, or above figures, and where nothing below is like it."""
    if not re.search(r"\d", cell):
        return bool(cell)
    if _YEAR.fullmatch(cell):
        return cell != first[0] and not any(_YEAR.fullmatch(other) for other in below)
    alike = sum(_shape(other) == _shape(cell) for other in first) > 1
    return cell[0].isalpha() and (alike or _figures(below)) and all(_shape(other) != _shape(cell) for other in below)


def _shape(cell: str) -> str:
    return re.sub(r"\d+", "0", cell)


def read_csv(text: str) -> tuple[list[str], list[str], list[list[str]]]:
    """The lines above its table, its columns' names and its rows, by whichever delimiter gives the most regular table.

    The names are empty where the first row is one of figures as the others are. Raises `ValueError`.
    """
    first, _, rest = text.partition("\n")
    told = re.fullmatch(r"\"?sep=(.)\"?", first.strip(), re.IGNORECASE) if len(first) < 10 else None
    delimiter = "\t" if first.strip('"\r ').casefold() in {"sep=", "sep=\t"} else told[1] if told else ""
    body = rest if delimiter else text
    rows = _rows(body, delimiter or max(_DELIMITERS, key=lambda one: _regular(body, one)))
    if not rows:
        raise ValueError("contains no text")
    above = _above(rows)
    # a comment of some tools
    rows = [row for row in rows[len(above) :] if len(row) > 1 or not above or not row[0].startswith("#")]
    if _is_one_of(rows):
        return above, [""] * len(rows[0]), rows
    if len(rows) < 2:
        raise ValueError("has no row below its columns' names")
    if names := _over_two_rows(rows):
        return above, names, rows[2:]
    return above, rows[0], rows[1:]


def _over_two_rows(rows: Sequence[Sequence[str]]) -> list[str]:
    """The columns' names where the second row has further names or units: where the rows below it have figures it has
    none, and one of the two has empty cells. Empty where it has not."""
    if len(rows) < 3:
        return []
    first, second, *below = ([cell.strip() for cell in row] for row in rows[:_SAMPLE])
    columns = [*zip_longest(*below, fillvalue="")]
    figures = [at for at, column in enumerate(columns) if _figures(column)]
    own = [second[at] for at in figures if at < len(second) and second[at]]
    if not own or all([*first, *second]) or any(_is_figure(cell) and not _YEAR.fullmatch(cell) for cell in own):
        return []
    names: list[str] = []
    over = ""
    for above, name in zip_longest(first, second, fillvalue=""):
        # one that spans several columns stands above the first of them
        over = above if above and name else "" if above else over
        names.append(" ".join(filter(None, (above or (over if name else ""), name))))
    return names


def _figures(column: Sequence[str]) -> bool:
    return any(column) and all(_is_figure(cell) for cell in column if cell)


def _is_figure(cell: str) -> bool:
    return bool(_FIGURE.fullmatch(cell))


def _above(rows: Sequence[Sequence[str]]) -> list[str]:
    """What an export says before its table: lines of one cell, where the rows after them have more."""
    filled = [[cell.strip() for cell in row if cell.strip()] for row in rows[: _MOST_ABOVE + 2]]
    count = next((number for number, row in enumerate(filled) if len(row) > 1), 0)
    remarks = [len(row) == 1 and row[0].startswith("#") for row in rows[: len(filled)]]
    wide = len(rows) > count + 1 and all(
        len(row) > 1 or remark for row, remark in zip(rows[count : len(filled)], remarks[count:], strict=True)
    )
    return [row[0] for row in filled[:count]] if wide and count <= _MOST_ABOVE else []


def _is_one_of(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row has a figure above each figure of the others: it names nothing. A year can be a name."""
    columns = [[cell.strip() for cell in column] for column in zip(*rows[:_SAMPLE], strict=False)]
    figures = [column for column in columns if len(column) > 1 and all(_FIGURE.fullmatch(cell) for cell in column[1:])]
    return bool(figures) and all(_FIGURE.fullmatch(column[0]) and not _YEAR.fullmatch(column[0]) for column in figures)


def _rows(text: str, delimiter: str, most: int | None = None) -> list[list[str]]:
    try:
        return _parsed(text, delimiter, most)
    except ValueError:
        if '\\"' not in text:
            raise
        # some programs write a quote within quotes so
        return _parsed(text, delimiter, most, escape="\\")


def _parsed(text: str, delimiter: str, most: int | None, escape: str | None = None) -> list[list[str]]:
    found: list[list[str]] = []
    lines = csv.reader(io.StringIO(text), delimiter=delimiter, escapechar=escape, skipinitialspace=True, strict=True)
    try:
        for row in lines:
            if any(cell.strip() for cell in row):
                found.append(row)
            if len(found) == most:
                break
    except csv.Error as error:
        raise ValueError(f"not valid CSV after row {len(found)}: {error}") from error
    return found


def _regular(text: str, delimiter: str) -> tuple[float, int]:
    """The share of rows that have as many cells as most have, and how many; one cell is no table."""
    try:
        widths = Counter(len(row) for row in _rows(text, delimiter, _SAMPLE))
    except ValueError:
        return 0.0, 0
    width, often = max(widths.items(), key=lambda pair: pair[1], default=(0, 0))
    return (often / widths.total(), width) if width > 1 else (0.0, 0)
