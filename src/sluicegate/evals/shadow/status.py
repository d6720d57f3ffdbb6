"""How far shadows have come."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sluicegate.evals.shadow.pairs import PairStore, Registration, today

__all__ = ["ShadowStatus", "status_of"]


@dataclass(frozen=True, slots=True)
class ShadowStatus:
    at: Registration
    pairs: int
    in_work: int
    """Requests whose pair is being made."""
    shed: Mapping[str, int]
    """Sampled requests that were not shadowed, by reason."""
    usd_today: float
    pairs_today: int
    """Requests taken on today (UTC)."""

    @property
    def state(self) -> str:
        return "stopped" if self.at.stopped_at else "running"

    def plain(self) -> dict[str, Any]:
        at = self.at
        return {
            "number": at.number,
            **at.compared,
            "started_at": at.started_at,
            "state": self.state,
            "pairs": self.pairs,
            "in_work": self.in_work,
            "needed": at.plan.pairs.minimum,
            "shed": dict(self.shed),
            "today": {"usd": self.usd_today, "pairs": self.pairs_today},
        }


def status_of(at: Registration, pairs: PairStore) -> ShadowStatus:
    usd, count = pairs.spent(at.number, today())
    return ShadowStatus(at, pairs.count(at.number), pairs.in_work(at.number), pairs.shed(at.number), usd, count)
