"""Whether a principal may do something, and which policies decided it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypedDict

from sluicegate.state import Principal

__all__ = ["Decision", "OperatorTask", "PolicyEngine", "ReadFilter"]

OperatorTask = Literal["promote", "rollback", "switch-off", "switch-on", "incident"]
"""What the action ``operate`` is about."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A policy decision; anything but a clean allow is a deny."""

    allowed: bool
    rules: tuple[str, ...]
    """`@id`s of the deciding policies; empty for the default deny."""
    reason: str
    """The `@reason` annotations of the deciding policies, shown to requesters."""
    errors: tuple[str, ...] = ()


class ReadFilter(TypedDict):
    """What a principal may read in an index, by policy; a document must also pass `permits`."""

    labels: list[str] | None
    """A document must name one of these as a reader: ``everyone``, ``role:NAME``, ``group:NAME``, ``user:ID``. None:
    policies do not depend on the readers; empty: nothing at all."""
    max_rank: int
    """The highest classification, by rank: 0 ``public`` to 3 ``restricted``; -1: nothing at all."""
    permits: Callable[[Mapping[str, Any]], bool]
    """The policies' decision on one document: ``{"id", "readers", "classification", "index"?, "source"?}``."""


class PolicyEngine(Protocol):
    def decide(
        self, principal: Principal, action: str, resource: Mapping[str, Any], context: Mapping[str, Any]
    ) -> Decision:
        """Decide one request. `resource` is ``{"type": "Workflow", "id": "helpdesk", **attributes}``.

        Never raises for a bad input: that is a deny with `errors`.
        """
        ...
