"""Backfill: runs the challenger on the champion's recorded runs later, on all of them.

Runs are read a page at a time in the order they ended, so a home with years of runs costs no more memory than a new
one, and a second pass begins where the first one came to.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sluicegate.errors import RunError
from sluicegate.evals.shadow.pairing import Challenge, sampled, skip_reason
from sluicegate.evals.shadow.pairs import CAPS, PairStore, Registration
from sluicegate.evals.shadow.shadow import challenger_of, labels_of, list_price, outcome_of, pair_up
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.tracing.storing.shared import open_store

__all__ = ["Reached", "work"]

_PAGE = 200
_LATE_NS = 60 * 10**9
"""How much later than its end a run may be recorded and still be seen by the next pass."""


@dataclass(slots=True)
class Reached:
    """How far the passes have come; the next one is given it."""

    ended_ns: int = 0
    """What ended before is done with."""
    seen: dict[str, int] = field(default_factory=dict[str, int])
    """What is done with all the same, and when it ended."""

    def past(self, seen: dict[str, int], held_ns: int | None) -> None:
        """Note a pass: the runs it is done with, and the end of the first one that it left for later."""
        self.seen |= seen
        last = max(self.seen.values(), default=self.ended_ns)
        self.ended_ns = min(last, time.time_ns() - _LATE_NS, held_ns if held_ns is not None else last)
        self.seen = {run: ended for run, ended in self.seen.items() if ended >= self.ended_ns}


async def work(
    at: Registration,
    *,
    limit: int = 0,
    on_pair: Callable[[str], None] | None = None,
    challenge: Challenge | None = None,
    reached: Reached | None = None,
) -> dict[str, int]:
    """Pair the champion's finished runs since the comparison started that are not paired yet, first ended first.

    Counts of what was done: ``paired``, at most `limit` if it is not 0, and reasons why runs were passed over. A daily
    cap ends the pass; what it holds back is taken up another day. Several processes at once share the work.
    """
    reached = reached or Reached()
    pairs, store, counts = PairStore(), open_store(), Counter[str]()
    opened = None
    if challenge is None:
        opened, challenge = challenger_of(at)
    price = opened.models.price if opened else None
    labels = labels_of(at)
    rows, seen, held = _finished(store, pairs, at, reached), dict[str, int](), list[int]()
    going = 0

    async def one(run: str, digest: str) -> str:
        if digest != at.champion_digest:
            return "another version of the champion"
        try:
            outcome = outcome_of(run, store)
        except RunError:
            return "no checkpoint"
        if reason := skip_reason(outcome, at) or ("" if sampled(at.plan, outcome.state) else "not sampled"):
            return reason
        if not pairs.is_running(at.number):
            return "stopped"
        case = labels.get(outcome.state["request"]["text"])
        return await pair_up(
            at, pairs, challenge, outcome, case, lambda run: list_price(store, price, run) if price else None
        )

    async def one_by_one() -> None:
        nonlocal going
        while not held and not (limit and counts["paired"] + going >= limit) and (row := next(rows, None)):
            going += 1
            try:
                reason = await one(row["run_id"], row["digest"])
            finally:
                going -= 1
            counts[reason or "paired"] += 1
            if reason in CAPS:
                held.append(row["ended_ns"])
            else:
                seen[row["run_id"]] = row["ended_ns"]
            if on_pair:
                on_pair(reason)

    await asyncio.gather(*(one_by_one() for _ in range(at.plan.concurrency)))
    reached.past(seen, min(held, default=None))
    if opened:
        opened.tracer.flush(5.0)
    store.close()
    pairs.close()
    return dict(counts)


def _finished(store: Store, pairs: PairStore, at: Registration, reached: Reached) -> Iterator[dict[str, Any]]:
    """What is not paired yet, as far as it is known when its page is read."""
    started, behind = int(datetime.fromisoformat(at.started_at).timestamp() * 1e9), (reached.ended_ns, "")
    while True:
        page = store.query(
            "SELECT run_id, digest, ended_ns FROM runs WHERE workflow = ? AND started_ns >= ? "
            "AND (ended_ns, run_id) > (?, ?) AND shadow = 0 AND status IN ('answered', 'refused') "
            "ORDER BY ended_ns, run_id LIMIT ?",
            (at.workflow, started, *behind, _PAGE),
        )
        if not page:
            return
        taken = pairs.claimed(at.number, [row["run_id"] for row in page])
        yield from (row for row in page if row["run_id"] not in taken and row["run_id"] not in reached.seen)
        behind = page[-1]["ended_ns"], page[-1]["run_id"]
