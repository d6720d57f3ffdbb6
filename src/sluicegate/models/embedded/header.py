"""What the header of a GGUF file says of its model, and where its tensors lie.

The `gguf` package makes an object of every token and merge: six seconds for a vocabulary of 150,000. Here lists that
nobody asks for are passed over by their lengths (the format: llama.cpp's `docs/gguf.md`).
"""

import mmap
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluicegate.errors import ModelError, WeightsMismatchError

__all__ = ["ModelFile", "Tensor", "read_header", "read_model"]

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


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor lies in its file, and as what."""

    kind: int
    """Its number in `gguf.GGMLQuantizationType`."""
    shape: tuple[int, ...]
    """As numpy has it: its last dimension lies together."""
    at: int
    """Bytes from the beginning of the file."""


def read_header(path: Path) -> dict[str, Scalar]:
    """The metadata of a GGUF file of version 2 or 3, its lists left out.

    Raises `OSError`, and `ValueError` or `struct.error` for another file or half of one.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        fields, _at, _tensors = _fields(data)
        return fields


def read_model(path: Path, lists: Collection[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """As `read_header`, with the lists of these names; and every tensor by its name."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        fields, at, count = _fields(data, lists)
        return fields, _tensors(data, at, count, fields)


def _fields(data: mmap.mmap, lists: Collection[str] = ()) -> tuple[dict[str, Any], int, int]:
    """The metadata, where they end, and how many tensors follow."""
    magic, version, tensors, entries = struct.unpack_from("<4sIQQ", data, 0)
    if magic != b"GGUF" or version not in (2, 3):
        raise ValueError("it does not start as GGUF of version 2 or 3 does")
    found: dict[str, Any] = {}
    at = 24
    for _ in range(entries):
        name, at = _text(data, at)
        (kind,) = struct.unpack_from("<I", data, at)
        at += 4
        if kind == _TEXT:
            found[name], at = _text(data, at)
        elif kind == _LIST:
            if name in lists:
                found[name] = _list(data, at)
            at = _after_list(data, at)
        else:
            form = _scalar(kind)
            (found[name],) = struct.unpack_from(form, data, at)
            at += struct.calcsize(form)
    return found, at, tensors


def _tensors(data: mmap.mmap, at: int, count: int, fields: Mapping[str, Any]) -> dict[str, Tensor]:
    found: list[tuple[str, int, tuple[int, ...], int]] = []
    for _ in range(count):
        name, at = _text(data, at)
        (dimensions,) = struct.unpack_from("<I", data, at)
        *shape, kind, offset = struct.unpack_from(f"<{dimensions}QIQ", data, at + 4)
        at += 16 + 8 * dimensions
        found.append((name, kind, tuple(reversed(shape)), offset))
    start = at + -at % int(fields.get("general.alignment", 32))
    return {name: Tensor(kind, shape, start + offset) for name, kind, shape, offset in found}


def _scalar(kind: int) -> str:
    if kind not in _SCALARS:
        raise ValueError(f"a value of the unknown type {kind}")
    return f"<{_SCALARS[kind]}"


def _text(data: mmap.mmap, at: int) -> tuple[str, int]:
    (size,) = struct.unpack_from("<Q", data, at)
    if size > len(data) - at - 8:
        raise ValueError("a text goes on beyond the end of the file")
    return data[at + 8 : at + 8 + size].decode(), at + 8 + size


def _list(data: mmap.mmap, at: int) -> list[Any]:
    """Texts or numbers; a list of lists has no reader. Raises `ValueError`."""
    kind, count = struct.unpack_from("<IQ", data, at)
    at += 12
    if kind != _TEXT:
        return list(struct.unpack_from(f"<{count}{_scalar(kind)[1:]}", data, at))
    texts: list[str] = []
    for _ in range(count):
        text, at = _text(data, at)
        texts.append(text)
    return texts


def _after_list(data: mmap.mmap, at: int) -> int:
    kind, count = struct.unpack_from("<IQ", data, at)
    at += 12
    if kind not in (_TEXT, _LIST):
        return at + count * struct.calcsize(_scalar(kind))
    size_of = struct.Struct("<Q").unpack_from
    for _ in range(count):
        at = at + 8 + size_of(data, at)[0] if kind == _TEXT else _after_list(data, at)
    return at
