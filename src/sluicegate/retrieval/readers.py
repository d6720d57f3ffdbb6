"""Who may read a document: what a document says about itself, what a principal may see, and whether they meet.

`ReadFilter` is derived from policy and is plain data, so that it can be written as a database filter and checked again
in Python on every hit. Both forms are here, next to each other, because they must mean the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any, get_args

from sluicegate.retrieval.config import Clearance
from sluicegate.state import Principal

__all__ = [
    "EVERYONE",
    "Document",
    "ReadFilter",
    "clearance_rank",
    "day_number",
    "labels_of",
    "quoted",
    "reader_labels",
    "where",
]

EVERYONE = "everyone"
NEVER = 99991231
"""The day number of a document without an end."""

_RANKS: dict[str, int] = {name: rank for rank, name in enumerate(get_args(Clearance))}


@dataclass(frozen=True, slots=True)
class ReadFilter:
    """What one principal may read: documents with one of `labels` that need at most `clearance`."""

    labels: frozenset[str]
    """``everyone``, ``role:NAME``, ``group:NAME``, ``user:ID``; empty: nothing at all."""
    clearance: Clearance


@dataclass(frozen=True, slots=True)
class Document:
    """What an index knows of one document; its passages' words are kept apart."""

    id: str
    version: str
    title: str
    source: str
    owner: str
    approved: bool
    readers: tuple[str, ...]
    clearance: Clearance
    valid_until: int
    """Last day on which it may be retrieved, as a day number such as 20261231."""
    tags: tuple[str, ...]

    def refusal(self, readable: ReadFilter, today: int) -> str:
        """Why it may not be retrieved; empty when it may."""
        if not self.approved:
            return "not approved"
        if self.valid_until < today:
            return "expired"
        if not readable.labels.intersection(self.readers):
            return "not among its readers"
        if _RANKS[self.clearance] > _RANKS[readable.clearance]:
            return "clearance too low"
        return ""

    def attributes(self) -> dict[str, Any]:
        """As a policy sees it."""
        return {
            "id": self.id,
            "version": self.version,
            "title": self.title,
            "source": self.source,
            "owner": self.owner,
            "approved": self.approved,
            "readers": list(self.readers),
            "clearance": self.clearance,
            "valid_until": self.valid_until,
            "tags": list(self.tags),
        }


def labels_of(principal: Principal) -> ReadFilter:
    """The filter that takes a principal at its word: its roles, groups, id and clearance, and nothing of policy."""
    return ReadFilter(
        frozenset(
            {
                EVERYONE,
                f"user:{principal['id']}",
                *(f"role:{role}" for role in principal["roles"]),
                *(f"group:{group}" for group in principal["groups"]),
            }
        ),
        principal["clearance"],
    )


def reader_labels(readers: Iterable[str]) -> tuple[str, ...]:
    """Labels of the readers that a document names; a bare name is a role or a group of that name."""
    labels: set[str] = set()
    for reader in readers:
        if reader == EVERYONE or reader.startswith(("role:", "group:", "user:")):
            labels.add(reader)
        else:
            labels.update((f"role:{reader}", f"group:{reader}"))
    return tuple(sorted(labels))


def clearance_rank(clearance: Clearance) -> int:
    """0 for ``public`` up to 3 for ``restricted``."""
    return _RANKS[clearance]


def day_number(day: date | None) -> int:
    """A day as a number that sorts, such as 20261231; no day is the far future."""
    return NEVER if day is None else day.year * 10_000 + day.month * 100 + day.day


def where(readable: ReadFilter, today: int) -> str:
    """The same condition as `Document.refusal`, as LanceDB's SQL."""
    labels = ", ".join(quoted(label) for label in sorted(readable.labels))
    return (
        f"approved = true AND valid_until >= {today} AND clearance <= {_RANKS[readable.clearance]}"
        f" AND array_has_any(readers, [{labels}])"
    )


def quoted(text: str) -> str:
    """A SQL string literal: quotes are doubled, nothing else is special."""
    return "'" + text.replace("'", "''") + "'"
