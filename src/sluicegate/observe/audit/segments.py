"""The files of an audit log: segments of lines, numbered from 1; the signed head; the statements that were kept."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sluicegate.observe.audit.chain import GENESIS, is_checkpoint

__all__ = ["SLOT", "SegmentOffset", "base_of", "heads", "json_of", "lines_after", "segment_name", "segments"]

SLOT = 1024
"""Bytes for a signed head. There are two, written in turn, so that one is always whole."""


@dataclass(frozen=True, slots=True)
class SegmentOffset:
    """An offset in a segment."""

    segment: int
    offset: int


def segment_name(number: int) -> str:
    return f"audit-{number:06d}.jsonl"


def segments(folder: Path) -> list[Path]:
    """The log's files, oldest first."""
    return sorted(folder.glob("audit-*.jsonl"))


def lines_after(folder: Path, place: SegmentOffset | None) -> Iterator[tuple[bytes, SegmentOffset]]:
    """Every whole line behind a place, or from the first one there is, with the place behind it."""
    for path in segments(folder):
        number = int(path.stem.removeprefix("audit-"))
        if place and number < place.segment:
            continue
        with path.open("rb") as file:
            offset = place.offset if place and number == place.segment else 0
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                yield line, SegmentOffset(number, offset)


def heads(folder: Path, key: Ed25519PublicKey) -> list[dict[str, Any]]:
    """The signed heads that are whole; of two, either may be the newer one."""
    path = folder / "head"
    slots = path.read_bytes() if path.exists() else b""
    found = [json_of(slots[start : start + SLOT]) for start in (0, SLOT)]
    return [head for head in found if is_checkpoint(key, head)]


def base_of(statements: list[dict[str, Any]]) -> dict[str, Any]:
    """The last record that was pruned, as it was signed; before the first one when none was."""
    pruned = (statement for statement in statements if statement.get("kind") == "pruned")
    return max(pruned, key=lambda statement: statement["seq"], default={"seq": 0, "hash": GENESIS})


def json_of(raw: bytes) -> Any:
    """What it says; None for what is no JSON."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None
