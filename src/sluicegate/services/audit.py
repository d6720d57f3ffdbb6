"""Audit events of a run."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sluicegate.state import Branch, State

__all__ = ["Audit"]


class Audit(Protocol):
    """Writes audit events, before a step's result is stored."""

    async def step(
        self,
        state: State,
        update: Mapping[str, Any],
        *,
        node: str,
        kind: str,
        visit: int,
        ms: float,
        branch: Branch | None = None,
    ) -> None:
        """One step is done. Raises `RunError` when the event of a risky request cannot be written."""
        ...

    async def failed(self, state: State, error: Exception, *, node: str) -> None:
        """A step failed."""
        ...

    async def revealed(self, state: State, *, reader: str, placeholders: Sequence[str], rules: Sequence[str]) -> None:
        """`reader` is about to see what these placeholders stand for.

        Raises `RunError` when that cannot be recorded.
        """
        ...
