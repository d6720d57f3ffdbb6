"""What the files of a home hold, byte by byte: also in rows that are packed, in freed pages and write-ahead logs."""

import zlib
from pathlib import Path

from sluicegate.storage import step_rows

_WORDS = step_rows._WORDS  # type: ignore[reportPrivateUsage]
_BEGINS = {b"\x78\xf9" + zlib.adler32(_WORDS).to_bytes(4): _WORDS, b"\x78\x9c": b""}
"""Of a stream with our dictionary, at level 9, and of one without, at level 6: a cached answer."""


def readable(file: Path) -> bytes:
    """The bytes of a file, and what each packed row in them, deleted ones too, says as far as it is there."""
    data = file.read_bytes()
    parts = [data]
    for begins, words in _BEGINS.items():
        at = data.find(begins)
        while at >= 0:
            parts.append(_unpacked(data[at : at + 100_000], words))
            at = data.find(begins, at + 1)
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
