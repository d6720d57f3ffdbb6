"""Tables into Markdown, and CSV of every dialect into tables."""

import csv
import re
from collections import Counter
from collections.abc import Sequence

__all__ = ["headed", "read_csv", "table"]

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


def headed(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row of a table that does not say so names its columns: a name is neither empty nor a figure,
    and of pairs such as "Name:", "Ann" none is a name."""
    if len(rows) < 2 or len(rows[0]) < 2:
        return False
    named = all(cell and not re.search(r"\d", cell) for cell in rows[0]) and len({*rows[0]}) == len(rows[0])
    return named and not all(row[0].endswith(":") for row in rows if row)


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
    rows = rows[len(above) :]
    if _is_one_of(rows):
        return above, [""] * len(rows[0]), rows
    if len(rows) < 2:
        raise ValueError("has no row below its columns' names")
    return above, rows[0], rows[1:]


def _above(rows: Sequence[Sequence[str]]) -> list[str]:
    """What an export says before its table: lines of one cell, where the rows after them have more."""
    filled = [[cell.strip() for cell in row if cell.strip()] for row in rows[: _MOST_ABOVE + 2]]
    count = next((number for number, row in enumerate(filled) if len(row) > 1), 0)
    wide = len(rows) > count + 1 and all(len(row) > 1 for row in filled[count:])
    return [row[0] for row in filled[:count]] if wide and count <= _MOST_ABOVE else []


def _is_one_of(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row has a figure above each figure of the others: it names nothing. A year can be a name."""
    columns = [[cell.strip() for cell in column] for column in zip(*rows[:_SAMPLE], strict=False)]
    figures = [column for column in columns if len(column) > 1 and all(_FIGURE.fullmatch(cell) for cell in column[1:])]
    return bool(figures) and all(_FIGURE.fullmatch(column[0]) and not _YEAR.fullmatch(column[0]) for column in figures)


def _rows(text: str, delimiter: str, most: int | None = None) -> list[list[str]]:
    found: list[list[str]] = []
    try:
        for row in csv.reader(text.splitlines(keepends=True), delimiter=delimiter, skipinitialspace=True, strict=True):
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
