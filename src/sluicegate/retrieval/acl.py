"""Read access: a document's attributes, a principal's rights, and whether they match.

`ReadFilter` is derived from policy and is mostly plain data, so that it can be written as a database filter and checked
again in Python on every hit. Both forms are here, next to each other, because they must mean the same.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any, get_args

from sluicegate.retrieval.config import EVERYONE, Clearance
from sluicegate.services import ReadFilter
from sluicegate.state import Principal

__all__ = [
    "NEVER",
    "Document",
    "by_labels",
    "clearance_rank",
    "day_number",
    "quoted",
    "where",
]

NEVER = 99991231
"""The day number of a document without an expiry date."""

_RANKS: dict[str, int] = {name: rank for rank, name in enumerate(get_args(Clearance))}


@dataclass(frozen=True, slots=True)
class Document:
    """An index's record of one document; its passages' texts are stored separately."""

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
        return self.forbidden(readable)

    def forbidden(self, readable: ReadFilter) -> str:
        """Why `readable` does not include it; empty when it does."""
        if readable["labels"] is not None and not set(readable["labels"]).intersection(self.readers):
            return "not among its readers"
        if _RANKS[self.clearance] > readable["max_rank"]:
            return "clearance too low"
        return ""

    def attributes(self, index: str) -> dict[str, Any]:
        """The attributes that policies see."""
        return {
            "id": self.id,
            "source": self.source,
            "index": index,
            "readers": list(self.readers),
            "classification": self.clearance,
        }


def by_labels(principal: Principal, index: str) -> ReadFilter:
    """What a principal may read by default: by its roles, groups, id and clearance."""
    del index
    return {
        "labels": [
            EVERYONE,
            f"user:{principal['id']}",
            *(f"role:{role}" for role in principal["roles"]),
            *(f"group:{group}" for group in principal["groups"]),
        ],
        "max_rank": _RANKS[principal["clearance"]],
        "permits": lambda _document: True,
    }


def clearance_rank(clearance: Clearance) -> int:
    """0 for ``public`` up to 3 for ``restricted``."""
    return _RANKS[clearance]


def day_number(day: date | None) -> int:
    """A day as a sortable number, such as 20261231; None is the far future."""
    return NEVER if day is None else day.year * 10_000 + day.month * 100 + day.day


def where(readable: ReadFilter, today: int) -> str:
    """The same condition as `Document.refusal`, as LanceDB's SQL. `labels` must not be empty."""
    condition = f"approved = true AND valid_until >= {today:d} AND clearance <= {readable['max_rank']:d}"
    if readable["labels"] is None:
        return condition
    labels = ", ".join(quoted(label) for label in sorted(set(readable["labels"])))
    return f"{condition} AND array_has_any(readers, [{labels}])"


def quoted(text: str) -> str:
    """A SQL string literal: quotes are doubled, nothing else is special."""
    return "'" + text.replace("'", "''") + "'"
