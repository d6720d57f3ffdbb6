"""Guards on text, and the vault of the values behind their redactions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from sluicegate.state import CheckResult

__all__ = ["GuardReport", "Guards", "Hidden", "Vault"]


@dataclass(frozen=True, slots=True)
class GuardReport:
    results: tuple[CheckResult, ...]
    text: str
    """The text with redactions applied."""
    redacted: bool = False


@dataclass(frozen=True, slots=True)
class Hidden:
    """The value behind one placeholder of a run."""

    value: str = field(repr=False)
    kind: str
    """What was found, such as ``email``."""
    stage: Literal["request", "retrieved", "output"]
    """Where it was found first."""
    credential: bool = False
    """A password or a key: never written to disk, and never restored."""


class Vault(Protocol):
    """The values behind placeholders. They are stored with erasable texts, and never in a state or a trace."""

    async def hidden(self, run: str) -> Mapping[str, Hidden]:
        """The placeholders that a run has issued and that were not erased."""
        ...

    async def hide(self, run: str, person: str, hidden: Mapping[str, Hidden]) -> None:
        """Store them with the data of `person`, the requester. Raises `RunError` when that fails."""
        ...


class Guards(Protocol):
    async def check(
        self,
        names: Sequence[str],
        text: str,
        *,
        stage: Literal["request", "retrieved", "output"],
        question: str = "",
        sources: Sequence[str] = (),
        citations: int = 0,
        run: str = "",
        person: str = "",
    ) -> GuardReport:
        """Run the named guards over `text`; one that crashes or times out counts as failed.

        `sources` are the retrieved passages' texts in citation order, for the grounding and citation guards. Within
        one `run`, asked by `person`, a value that is redacted has the same placeholder everywhere.
        """
        ...
