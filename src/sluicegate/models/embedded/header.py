"""What the header of a GGUF file says of its model, without its vocabulary.

The `gguf` package makes an object of every token and merge: six seconds for a vocabulary of 150,000. Here lists are
passed over by their lengths (the format: llama.cpp's `docs/gguf.md`).
"""

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

from sluicegate.errors import ModelError, WeightsMismatchError

__all__ = ["ModelFile", "read_header"]

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _LIST = 8, 9

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A user's GGUF file."""

    path: Path
    embeds: bool
    """Whether it is an embedding model."""
    context: int
    """The context that it was trained for, in tokens."""

    @classmethod
    def read(cls, path: Path) -> "ModelFile":
        """Raises `ModelError` SG306 without a file, SG307 when it is none of GGUF's."""
        if not path.is_file():
            raise ModelError("SG306", f"no file {path}", hint="Name one of the embedded models or a GGUF file")
        try:
            header = read_header(path)
            architecture = header["general.architecture"]
            context = int(header[f"{architecture}.context_length"])
        except (ValueError, KeyError, OSError, OverflowError, struct.error) as error:
            raise WeightsMismatchError(f"{path} is not a valid GGUF file: {error}") from error
        return cls(path, f"{architecture}.pooling_type" in header, context)


def read_header(path: Path) -> dict[str, Scalar]:
    """The metadata of a GGUF file of version 2 or 3, its lists left out.

    Raises `OSError`, and `ValueError` or `struct.error` for another file or half of one.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        magic, version, _tensors, entries = struct.unpack_from("<4sIQQ", data, 0)
        if magic != b"GGUF" or version not in (2, 3):
            raise ValueError("it does not start as GGUF of version 2 or 3 does")
        found: dict[str, Scalar] = {}
        at = 24
        for _ in range(entries):
            name, at = _text(data, at)
            (kind,) = struct.unpack_from("<I", data, at)
            at += 4
            if kind == _TEXT:
                found[name], at = _text(data, at)
            elif kind == _LIST:
                at = _after_list(data, at)
            else:
                form = _scalar(kind)
                (found[name],) = struct.unpack_from(form, data, at)
                at += struct.calcsize(form)
        return found


def _scalar(kind: int) -> str:
    if kind not in _SCALARS:
        raise ValueError(f"a value of the unknown type {kind}")
    return f"<{_SCALARS[kind]}"


def _text(data: mmap.mmap, at: int) -> tuple[str, int]:
    (size,) = struct.unpack_from("<Q", data, at)
    if size > len(data) - at - 8:
        raise ValueError("a text goes on beyond the end of the file")
    return data[at + 8 : at + 8 + size].decode(), at + 8 + size


def _after_list(data: mmap.mmap, at: int) -> int:
    kind, count = struct.unpack_from("<IQ", data, at)
    at += 12
    if kind not in (_TEXT, _LIST):
        return at + count * struct.calcsize(_scalar(kind))
    size_of = struct.Struct("<Q").unpack_from
    for _ in range(count):
        at = at + 8 + size_of(data, at)[0] if kind == _TEXT else _after_list(data, at)
    return at
