"""Files that anybody may have written: read within bounds, by rows, and the position of a character in their text."""

import csv
import errno
import functools
import gzip
import hashlib
import io
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = [
    "ALLOWED",
    "LINE_END",
    "MAX_ROWS_BYTES",
    "csv_records",
    "csv_table",
    "csv_text",
    "json_lines",
    "line_and_column",
    "read_bounded",
    "sha256_of",
    "unchanged_sha256",
    "unpacked",
    "yaml_loader",
]

ALLOWED = "SLUICEGATE_WORKFLOW_FILES"
"""Environment variable: folders, separated as in PATH, whose files a workflow may name besides those of its own."""

MAX_ROWS_BYTES = 256_000_000
"""Of a file of rows that an operator names; what it says is held in memory."""

LINE_END = re.compile(r"\r\n|\n|\r")
"""What editors show as the end of a line; YAML and Python's `splitlines` know more of them."""

_RETURN = re.compile(r"\r(?=.)", re.DOTALL)
"""An end of a line within a row; with the newline after the row it would be one."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unchanged_sha256(path: Path) -> str:
    """The same, of a large file: read again only when its size or its time has changed."""
    about = path.stat()
    return _remembered_sha256(path, about.st_ino, about.st_size, about.st_mtime_ns)


@functools.lru_cache(maxsize=32)
def _remembered_sha256(path: Path, _inode: int, _size: int, _changed_ns: int) -> str:
    return sha256_of(path)


def read_bounded(path: Path, limit: int, *, within: Iterable[Path] = ()) -> bytes:
    """The bytes of a regular file; nothing is read of any other, nor of a larger one.

    `within` are the folders that it must be in, links followed, unless `ALLOWED` names others; none for any place.
    Raises `OSError`, whose `strerror` says what is wrong: EFBIG for a larger file, EPERM for one outside.
    """
    folders = list(within)
    if folders:
        folders += [Path(folder) for folder in os.environ.get(ALLOWED, "").split(os.pathsep) if folder]
        real = path.resolve()
        if not any(real.is_relative_to(folder.resolve()) for folder in folders):
            raise PermissionError(errno.EPERM, f"it lies outside the workflow's folder; {ALLOWED} may allow its folder")
    _regular(path.stat(), limit)
    # what was a file a moment ago may be a pipe now, on which an ordinary open would wait
    with open(path, "rb", opener=_at_once) as file:
        _regular(os.fstat(file.fileno()), limit)
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, _too_large(limit))
    return content


def unpacked(packed: bytes, limit: int) -> bytes:
    """What gzip packed. Raises `OSError` EFBIG when that is larger, and then holds no more of it; others if broken."""
    content = gzip.GzipFile(fileobj=io.BytesIO(packed)).read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"{_too_large(limit)} unpacked")
    return content


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _regular(found: os.stat_result, limit: int) -> None:
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if kind != stat.S_IFREG:
        raise OSError(errno.EINVAL, f"it is {_KINDS.get(kind, 'no regular file')}")
    if found.st_size > limit:
        raise OSError(errno.EFBIG, _too_large(limit))


def _too_large(limit: int) -> str:
    return f"larger than {limit:,} bytes"


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """The position of the character at `offset`, as editors count, from 1."""
    line, start = 1, 0
    for end in LINE_END.finditer(text, 0, offset):
        line, start = line + 1, end.end()
    return line, offset - start + 1


def json_lines(text: str) -> Iterator[tuple[int, str]]:
    """The rows of a JSON Lines file that are not blank, each with its line as editors count, from 1.

    Only a newline ends a row, as the format has it: JSON allows every other end of a line within one.
    """
    line = 1
    for row in text.split("\n"):
        if row.strip():
            yield line, row
        line += 1 + len(_RETURN.findall(row))


def csv_text(table: Iterable[Sequence[str]]) -> str:
    """A table as CSV, the names of its columns first."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    return text.getvalue()


def csv_table(text: str) -> list[list[str]]:
    """What `csv_text` has made a text of."""
    return [*csv.reader(io.StringIO(text))]


def csv_records(text: str) -> list[dict[str, str]]:
    """The rows of what `csv_text` has made a text of, by the names of the columns."""
    columns, *rows = csv_table(text)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def yaml_loader() -> Any:
    """PyYAML's safe loader: the one in C, ten times as fast, where it has that."""
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)
