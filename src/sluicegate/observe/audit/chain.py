"""Records of the audit log and their hash chain.

A line of the log is RFC 8785 canonical JSON: the record's body, the hash of the record before it (`prev`) and its own
(`hash`). The hash is SHA-256 over the previous hash and the SHA-256 of the canonical body, so a proof can show a
foreign record as a digest only. A checkpoint is a signed statement of a sequence number's hash.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any, cast

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sluicegate.observe.audit.keys import signed, valid

__all__ = [
    "GENESIS",
    "canonical",
    "checkpoint",
    "digest",
    "is_checkpoint",
    "line_of",
    "linked",
    "parsed",
    "plain",
]

GENESIS = "0" * 64
"""The hash before the first record."""

_LARGEST = 2**53 - 1
_EXPONENT = re.compile(r"\de[-+]\d")
_written = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def plain(value: Any) -> Any:
    """`value` as JSON data that RFC 8785 can write: numbers it cannot hold, and objects, become text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        # a lone surrogate has no UTF-8 form
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int):
        return value if abs(value) <= _LARGEST else str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        return int(value) if value.is_integer() and abs(value) <= _LARGEST else value
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in cast("list[Any]", value)]
    return plain(str(value))


def canonical(value: Mapping[str, Any]) -> bytes:
    """RFC 8785 bytes of data as `plain` leaves it.

    Python's own writer, ten times as fast, writes the same but for exponents and for the order of keys beyond ASCII.
    """
    text = _written(value)
    if text.isascii() and not (("e-" in text or "e+" in text) and _EXPONENT.search(text)):
        return text.encode()
    return rfc8785.dumps(cast("dict[str, Any]", value))


def digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(body)).hexdigest()


def linked(previous: str, body_digest: str) -> str:
    """The hash of a record with this digest after the record with the hash `previous`."""
    return hashlib.sha256(bytes.fromhex(previous) + bytes.fromhex(body_digest)).hexdigest()


def line_of(body: Mapping[str, Any], previous: str) -> tuple[bytes, str]:
    """The line to write for a body, and its hash."""
    own = linked(previous, digest(body))
    return canonical({**body, "prev": previous, "hash": own}) + b"\n", own


def parsed(line: bytes) -> tuple[dict[str, Any], str, str] | None:
    """Body, previous hash and own hash of a line; None when it is not, to the byte, what `line_of` writes."""
    try:
        record = json.loads(line)
        if not isinstance(record, dict):
            return None
        body = cast("dict[str, Any]", record)
        previous, own = str(body.pop("prev")), str(body.pop("hash"))
        consistent = type(body["seq"]) is int and line_of(body, previous) == (line, own)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return (body, previous, own) if consistent else None


def checkpoint(key: Ed25519PrivateKey, **fields: Any) -> dict[str, Any]:
    """A signed statement; `seq` and `hash` among its fields."""
    return {**fields, "signature": signed(key, canonical(fields))}


def is_checkpoint(key: Ed25519PublicKey, value: Any) -> bool:
    """True when `value` is a statement that the holder of the key signed."""
    if not isinstance(value, dict):
        return False
    fields = {name: item for name, item in cast("dict[str, Any]", value).items() if name != "signature"}
    try:
        return valid(key, cast("dict[str, Any]", value).get("signature"), canonical(fields))
    except (ValueError, TypeError):
        return False
