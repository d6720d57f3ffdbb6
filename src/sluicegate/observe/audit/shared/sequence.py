"""The statements that machines sign on a server, in one sequence.

A statement is RFC 8785 canonical JSON with an Ed25519 signature. It has the hash of the statement before it, whoever
made that one: each machine countersigns what the others have said so far, and no statement can be taken out, changed or
moved without the keys of all who came after it. Order is the statements' position, never a clock.

| kind | what it says |
| --- | --- |
| ``registered`` | a chain begins: its public key, its host, and the record that it goes on from |
| ``head`` | the chain's last record now, and the process that says so; `ended` when that process ends in order |
| ``pruned`` | statements up to a position, and records past retention, are deleted; what every chain had said by then |
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sluicegate.observe.audit.chain import canonical, checkpoint

__all__ = ["Entry", "EntryKind", "SharedRecord", "entry_hash", "made", "statement_of"]

EntryKind: TypeAlias = Literal["registered", "head", "pruned"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the sequence, as it is stored; only the statement counts, the rest is for looking it up."""

    position: int
    chain: str
    kind: str
    seq: int
    hash: str
    statement: bytes


@dataclass(frozen=True, slots=True)
class SharedRecord:
    """A row with a record, as it is stored; only the line counts."""

    chain: str
    seq: int
    run: str
    at: str
    line: bytes


def made(key: Ed25519PrivateKey, kind: EntryKind, chain: str, fields: Mapping[str, Any]) -> Entry:
    """A statement, signed; `position`, `prev`, `seq`, `hash` and `at` are among its fields."""
    statement = canonical(checkpoint(key, kind=kind, chain=chain, **fields))
    return Entry(fields["position"], chain, kind, fields["seq"], entry_hash(statement), statement)


def entry_hash(statement: bytes) -> str:
    return hashlib.sha256(statement).hexdigest()


def statement_of(entry: Entry) -> dict[str, Any] | None:
    """What a row's statement says; None when the row says something else, or is no statement at all."""
    try:
        told = cast("dict[str, Any]", json.loads(entry.statement))
        row = (told["position"], told["chain"], told["kind"], told["seq"], entry_hash(entry.statement))
        forms = [told["prev"], told["hash"], told["at"]]
        whole = canonical(told) == entry.statement and all(isinstance(form, str) for form in forms)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    stored = (entry.position, entry.chain, entry.kind, entry.seq, entry.hash)
    return told if whole and row == stored else None
