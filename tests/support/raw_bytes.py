"""What the files of a home hold, byte by byte: also in rows that are packed, in freed pages and write-ahead logs."""

import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

from sluicegate.storage import step_rows

_WORDS = step_rows._WORDS  # type: ignore[reportPrivateUsage]
_BEGINS = {b"\x78\xf9" + zlib.adler32(_WORDS).to_bytes(4): _WORDS, b"\x78\x9c": b"", b"\x78\x01": b""}
"""Of a stream with our dictionary, at level 9, and of those without, at level 6: a cached answer, and at level 1:
observations."""


def readable(file: Path) -> bytes:
    """The bytes of a file, and what each packed row in them, deleted ones too, says as far as it is there."""
    data = file.read_bytes()
    parts = [data]
    for begins, words in _BEGINS.items():
        at = data.find(begins)
        while at >= 0:
            parts.append(_unpacked(data[at : at + 100_000], words))
            at = data.find(begins, at + 1)
    if file.name == "store.sqlite":
        # observations go on in other pages
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as database:
            if database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'packed_spans'").fetchone():
                parts += [zlib.decompress(row[0]) for row in database.execute("SELECT content FROM packed_spans")]
    return b"\n".join(parts)


def _unpacked(data: bytes, words: bytes) -> bytes:
    stream, made = zlib.decompressobj(zdict=words), b""
    try:
        for byte in range(len(data)):
            if stream.eof:
                break
            made += stream.decompress(data[byte : byte + 1])
    except zlib.error:
        return made
    return made
