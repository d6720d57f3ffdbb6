"""Whether a principal may do something, and which policies decided it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sluicegate.state import Principal

__all__ = ["Decision", "PolicyEngine"]


@dataclass(frozen=True, slots=True)
class Decision:
    """A policy decision; anything but a clean allow is a deny."""

    allowed: bool
    rules: tuple[str, ...]
    """`@id`s of the deciding policies; empty for the default deny."""
    reason: str
    """The `@reason` annotations of the deciding policies, shown to requesters."""
    errors: tuple[str, ...] = ()


class PolicyEngine(Protocol):
    def decide(
        self, principal: Principal, action: str, resource: Mapping[str, Any], context: Mapping[str, Any]
    ) -> Decision:
        """Decide one request. `resource` is ``{"type": "Workflow", "id": "helpdesk", **attributes}``.

        Never raises for a bad input: that is a deny with `errors`.
        """
        ...
