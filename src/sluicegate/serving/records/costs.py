"""What the runs that a person may see have cost, by the day, and what the caps leave."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from sluicegate.observe.tracing.reading.filters import RunFilter
from sluicegate.observe.tracing.reading.usage import daily_use
from sluicegate.policies.ledger.calls import TOOL
from sluicegate.policies.ledger.factory import open_ledger
from sluicegate.policies.ledger.ledger import Cap
from sluicegate.serving.records.runs import RunRecords
from sluicegate.serving.service import Service
from sluicegate.state import Principal

__all__ = ["ALERT", "CapUse", "Costs", "DayCost", "cap_uses", "costs"]

ALERT = 0.8
"""The share of a cap from which on it is told."""


@dataclass(frozen=True, slots=True)
class DayCost:
    usd: float = 0.0
    tokens: int = 0
    count: int = 0
    """Runs, or calls of a model."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What was spent on each day, per path, workflow or model."""

    days: Sequence[date]
    """Without gaps, the last is today (UTC)."""
    names: Sequence[str]
    """The most expensive first."""
    cells: Mapping[tuple[date, str], DayCost]

    def total(self, *, day: date | None = None, name: str | None = None) -> DayCost:
        """Of a day, of a name, or of all."""
        if day is not None and name is not None:
            return self.cells.get((day, name), DayCost())
        found = [cell for (at, of), cell in self.cells.items() if day in (None, at) and name in (None, of)]
        return DayCost(sum(one.usd for one in found), sum(one.tokens for one in found), sum(one.count for one in found))


@dataclass(frozen=True, slots=True)
class CapUse:
    workflow: str
    cap: Cap

    @property
    def level(self) -> Literal["", "near", "reached"]:
        return "reached" if self.cap.used >= 1 else "near" if self.cap.used >= ALERT else ""


def costs(
    records: RunRecords,
    services: Iterable[Service],
    asker: Principal,
    *,
    by: Literal["path", "workflow", "model"],
    days: int,
    workflow: str = "",
) -> Costs:
    """Of the last `days` days (UTC), today included, by the day on which a run began or a model was called: of all
    runs where they may see all, else of those that they may see; of models, else of their own calls."""
    first = _today() - timedelta(days=days - 1)
    cells = dict[tuple[date, str], DayCost]()
    if by == "model":
        for each in services:
            if workflow in ("", each.name):
                _add_models(cells, each, asker, first)
    else:
        since_ns = int(datetime.combine(first, datetime.min.time(), UTC).timestamp()) * 10**9
        which = records.within(RunFilter(workflow=workflow, since_ns=since_ns), asker)
        for row in daily_use(records.store, which, by=by):
            cells[row.day, row.name] = DayCost(row.usd, row.tokens, row.runs)
    by_name = dict[str, tuple[float, int]]()
    for (_, name), cell in cells.items():
        usd, tokens = by_name.get(name, (0.0, 0))
        by_name[name] = usd + cell.usd, tokens + cell.tokens
    names = sorted(by_name, key=lambda name: (*(-part for part in by_name[name]), name))
    return Costs([first + timedelta(days=number) for number in range(days)], names, cells)


def cap_uses(services: Iterable[Service], asker: Principal) -> list[CapUse]:
    """The caps of the workflows whose runs they may all see, and their own caps elsewhere; the fullest first."""
    found = list[CapUse]()
    for service in services:
        with closing(open_ledger(service.versions.serving.workflow.config.budget)) as ledger:
            caps = ledger.caps(service.name)
        every = service.sees_all(asker)
        for cap in caps:
            personal = cap.name.startswith("per_principal")
            if cap.of == asker["id"] if personal else every:
                found.append(CapUse(service.name, cap))
    return sorted(found, key=lambda each: (-each.cap.used, each.workflow, each.cap.name, each.cap.of))


def _add_models(cells: dict[tuple[date, str], DayCost], service: Service, asker: Principal, first: date) -> None:
    with closing(open_ledger(service.versions.serving.workflow.config.budget)) as ledger:
        rows = ledger.spending(
            by="model",
            since=first.isoformat(),
            daily=True,
            of={"workflow": service.name, **({} if service.sees_all(asker) else {"principal": asker["id"]})},
        )
    for row in rows:
        if not row["model"] or row["model"].startswith(TOOL):
            # reserved for branches and items, or a call of a tool
            continue
        at = date.fromisoformat(row["day"]), row["model"]
        before = cells.get(at, DayCost())
        cells[at] = DayCost(before.usd + row["usd"], before.tokens + row["tokens"], before.count + row["calls"])


def _today() -> date:
    return datetime.now(UTC).date()
