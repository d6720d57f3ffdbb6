"""The rows of JSON Lines, CSV and Parquet as they lie in their files, read in order from any place, in flat memory.

A row of a text file is its bytes from one offset to the next, so that a block of rows is a range that any worker can
read for itself. What is wrong with a row is found when it is parsed, and is that row's fault alone.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sluicegate.batch.files.folder import InputFile

__all__ = ["MAX_RECORD", "Raw", "TextFile", "UnreadableRow", "parsed"]

MAX_RECORD = 2_000_000
"""Bytes of a row; of a larger one only its place is read."""
_CHUNK = 1 << 20
_BOM = b"\xef\xbb\xbf"


class UnreadableRow(ValueError):  # noqa: N818 - said of the row
    """A row that is no object of the file's format."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A row as it lies in its file."""

    start: int
    """Offset of its first byte; of a Parquet file, its number in its row group."""
    end: int
    content: bytes | Mapping[str, Any] | None
    """None: larger than `MAX_RECORD`."""


class TextFile:
    """A JSON Lines or CSV file. Only a newline ends a row; in CSV, not one between quotation marks."""

    def __init__(self, file: InputFile) -> None:
        self._file, self._csv = file, file.kind == ".csv"
        self.columns: Sequence[str] = ()
        self.delimiter = ","
        self.first = 0
        """Offset of the first row."""
        if self._csv:
            self._read_head()

    def rows(self, start: int = 0, end: int | None = None) -> Iterator[Raw]:
        """The rows that are not blank from one offset to another, each where it begins."""
        with self._file.open() as file:
            file.seek(start)
            for raw in _records(file, start, end, quoted=self._csv):
                content = raw.content
                if isinstance(content, bytes):
                    content = content.removeprefix(_BOM) if raw.start == 0 else content
                    if not content.strip():
                        continue
                yield Raw(raw.start, raw.end, content)

    def _read_head(self) -> None:
        head = next(self.rows(), None)
        if head is None or not isinstance(head.content, bytes):
            return
        text = head.content.decode("utf-8", "replace").strip("\r\n")
        self.delimiter = max(",;\t", key=text.count)
        self.columns = [name.strip() for name in next(csv.reader([text], delimiter=self.delimiter))]
        self.first = head.end


def parsed(content: bytes, file: TextFile) -> dict[str, Any]:
    """The columns of a row. Raises `UnreadableRow`."""
    try:
        text = content.decode("utf-8").strip("\r\n")
    except UnicodeDecodeError as error:
        raise UnreadableRow(f"not UTF-8: {error.reason} at byte {error.start}") from None
    if file.columns:
        return _csv_row(text, file)
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableRow(f"not JSON: {error}") from None
    if not isinstance(row, dict):
        raise UnreadableRow("not a JSON object")
    return cast("dict[str, Any]", row)


def _csv_row(text: str, file: TextFile) -> dict[str, Any]:
    try:
        rows = [*csv.reader(io.StringIO(text, newline=""), delimiter=file.delimiter, strict=True)]
    except csv.Error as error:
        raise UnreadableRow(f"not CSV: {error}") from None
    cells = rows[0] if rows else []
    if len(rows) != 1 or len(cells) != len(file.columns):
        raise UnreadableRow(f"{len(cells)} cells, and there are {len(file.columns)} columns")
    return dict(zip(file.columns, cells, strict=True))


def _records(file: Any, start: int, end: int | None, *, quoted: bool) -> Iterator[Raw]:
    content, size, at, inside = bytearray(), 0, start, False
    while chunk := file.read(_CHUNK if end is None else min(_CHUNK, end - at)):
        for piece in _pieces(chunk):
            at, size = at + len(piece), size + len(piece)
            inside ^= quoted and piece.count(b'"') % 2 == 1
            if size <= MAX_RECORD:
                content += piece
            else:
                content.clear()
                # a quotation mark that nobody closes must not swallow the rest of the file
                inside = False
            if piece.endswith(b"\n") and not inside:
                yield Raw(at - size, at, bytes(content) if size <= MAX_RECORD else None)
                content.clear()
                size = 0
    if size:
        yield Raw(at - size, at, bytes(content) if size <= MAX_RECORD else None)


def _pieces(chunk: bytes) -> Iterator[bytes]:
    """The lines of a chunk with their newlines, of which the last may lack it."""
    *lines, rest = chunk.split(b"\n")
    for line in lines:
        yield line + b"\n"
    if rest:
        yield rest
