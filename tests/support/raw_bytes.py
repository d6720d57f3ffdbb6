"""What the files of a home hold, byte by byte: also in rows that are packed, in freed pages and write-ahead logs."""

import zlib
from pathlib import Path

from sluicegate.storage import step_rows

_WORDS = step_rows._WORDS  # type: ignore[reportPrivateUsage]
_BEGINS = b"\x78\xf9" + zlib.adler32(_WORDS).to_bytes(4)
"""Of a stream with our dictionary, at level 9."""


def readable(file: Path) -> bytes:
    """The bytes of a file, and what each packed row in them, deleted ones too, says as far as it is there."""
    data = file.read_bytes()
    parts, at = [data], data.find(_BEGINS)
    while at >= 0:
        parts.append(_unpacked(data[at : at + 100_000]))
        at = data.find(_BEGINS, at + 1)
    return b"\n".join(parts)


def _unpacked(data: bytes) -> bytes:
    stream, made = zlib.decompressobj(zdict=_WORDS), b""
    try:
        for byte in range(len(data)):
            if stream.eof:
                break
            made += stream.decompress(data[byte : byte + 1])
    except zlib.error:
        return made
    return made
