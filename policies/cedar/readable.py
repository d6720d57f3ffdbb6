"""What a principal may read, derived from the same policies that decide on each document.

`ReadFilters` turns the policies into plain data that an index can filter by, and makes the final decision on each
document that the filter lets through. The filter is found by asking Cedar about synthetic documents, one for each of
the principal's labels and each classification, so a workflow's own policies count as much as the base ones.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sluicegate.policies.cedar.entities import RANKS, labels
from sluicegate.services import PolicyEngine, ReadFilter
from sluicegate.state import Principal

__all__ = ["ReadFilters"]

_NOBODY = "nobody:"
"""A reader label that no principal has."""


class ReadFilters:
    """The read filter of a policy set; safe to share between threads."""

    def __init__(self, engine: PolicyEngine) -> None:
        self._engine = engine
        self._filters = lru_cache(maxsize=4096)(self._found)

    def permits(self, principal: Principal, document: Mapping[str, Any]) -> bool:
        """True only when the policies allow `principal` to read `document`."""
        return self._engine.decide(principal, "read_document", {**document, "type": "Document"}, {}).allowed

    def readable(self, principal: Principal, index: str = "") -> ReadFilter:
        """The filter for one principal in one index. It may let through what `permits` then denies, and hides what
        policies allow only for a document's own id or source; it never widens what `permits` allows."""
        key = (principal["id"], tuple(principal["roles"]), tuple(principal["groups"]), principal["clearance"], index)
        found, max_rank = self._filters(*key)
        return {
            "labels": None if found is None else list(found),
            "max_rank": max_rank,
            "permits": lambda document: self.permits(principal, document),
        }

    def _found(
        self, id: str, roles: tuple[str, ...], groups: tuple[str, ...], clearance: Any, index: str
    ) -> tuple[tuple[str, ...] | None, int]:
        principal: Principal = {"id": id, "roles": [*roles], "groups": [*groups], "clearance": clearance}

        def highest(label: str) -> int:
            """The highest rank that a document for `label` may have; -1: none."""
            made_up = {"id": "sluicegate: made up", "readers": [label], **({"index": index} if index else {})}
            ranks = (r for r in RANKS.values() if self.permits(principal, {**made_up, "classification": r}))
            return max(ranks, default=-1)

        anyone = highest(_NOBODY)
        by_label = {label: highest(label) for label in labels(principal)}
        max_rank = max(anyone, *by_label.values())
        if anyone >= 0:
            return None, max_rank
        return tuple(label for label, top in by_label.items() if top >= 0), max_rank
