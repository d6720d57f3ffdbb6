"""What came of a run, as everything that shows it takes it: a command, a service, an evaluation."""

from dataclasses import dataclass
from typing import Any

from sluicegate.graphs.runtime.waiting.approvals import Waiting
from sluicegate.run_summary import RunSummary
from sluicegate.state import State

__all__ = ["Outcome"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a run, or where it waits."""

    run: str
    state: State
    ms: float
    """Duration of this segment, in milliseconds."""
    waiting: Waiting | None = None
    withheld: str = ""
    """Why the answer is not for the reader it was read for; empty when it is."""

    @property
    def summary(self) -> RunSummary:
        return RunSummary.of(self.state, status="waiting" if self.waiting else None)

    @property
    def status(self) -> str:
        return self.summary.status

    @property
    def path(self) -> str:
        """What the run used; empty before its end."""
        return self.summary.path or ""

    @property
    def edited(self) -> dict[str, dict[str, Any]] | None:
        """The arguments of the tool call `before` and `after` a person's edit; None when none were edited."""
        approval, extraction = self.state.get("approval"), self.state.get("extraction")
        before, after = approval and approval.get("arguments"), extraction and extraction["fields"]
        if not approval or approval["verdict"] != "edit" or before is None or after is None or before == after:
            return None
        return {"before": before, "after": after}

    @property
    def text(self) -> str:
        """The answer as it may be shown; empty while a person has not decided on it."""
        return self.summary.sent
