"""Deleting what a workflow's `retention` no longer keeps. Run it daily, beside whatever serves.

A run that waits for a person is kept however long it waits. The audit log has its own retention, and `audit prune`.
"""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

from sluicegate.graphs.config.models import WorkflowConfig
from sluicegate.graphs.runtime.checkpoints import open_checkpoints
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.tracing.storing.shared import open_store
from sluicegate.policies.cache.cache import AnswerStore
from sluicegate.policies.rates.limiter import RateLimiter
from sluicegate.retention.rows import changed, erasing, there
from sluicegate.retrieval.stores.sharing import swept
from sluicegate.storage.database import place
from sluicegate.storage.postgres import Server
from sluicegate.storage.promises import forget_promises, prune_promises
from sluicegate.storage.run_ids import root_run
from sluicegate.storage.schemas import (
    APPROVALS,
    CACHE,
    CONVERSATIONS,
    RATES,
    RECOVERED,
    RESULTS,
    SHADOW,
    SHARED_TRACES,
    TOOL_CALLS,
    TRACES,
    WEBHOOKS,
)

__all__ = ["Pruned", "prune"]

_DAY_S = 86_400
_MONTH_DAYS = 62
_GREGORIAN = 0x01B21DD213814000
"""The Unix epoch in the 100 ns since 15 October 1582 that time-ordered UUIDs count (RFC 9562, section 5.6)."""


@dataclass(frozen=True, slots=True)
class Pruned:
    runs: int
    """Runs whose checkpoints were deleted, with their decisions and tool results."""
    traces: int
    answers: int
    """Cached answers that had expired, of any workflow."""
    results: int
    """Evaluations and their results, and shadow pairs."""
    events: int
    """What webhooks have told of budgets and incidents."""
    turns: int
    """Turns of conversations that are over; their runs are kept and deleted as all are."""
    rates: int = 0
    """Rows of rate limits that say nothing any more, of any workflow."""
    stretches: int = 0
    """Rows of DBOS on a server: of these runs, and of what has been over for as long."""
    objects: int = 0
    """On stores of indexes: of versions that were replaced, and of ingests that were killed."""


def prune(config: WorkflowConfig, *, now: Callable[[], float] = time.time) -> Pruned:
    """Delete what is older than the workflow's `retention` says, and what stores of indexes need no more.

    Raises `RunError` SG606, SG607, SG608 or SG625, `RetrievalError` SG402, SG700 or SG701; the stores come last.
    """
    keep, at = config.retention, now()
    runs, stretches = _runs(config.workflow, at - keep.runs_days * _DAY_S)
    return Pruned(
        runs,
        _traces(config.workflow, at - keep.traces_days * _DAY_S),
        _answers(at),
        _results(config.workflow, at - keep.results_days * _DAY_S),
        _events(config.workflow, at - max(keep.runs_days, _MONTH_DAYS) * _DAY_S),
        _turns(config.workflow, at - (config.conversation.ttl if config.conversation else 0)),
        _rates(),
        stretches,
        sum(swept(name, index) for name, index in config.indexes.items()),
    )


def _runs(workflow: str, before: float) -> tuple[int, int]:
    """How many runs, and rows of their stretches."""
    with closing(open_checkpoints(place())) as checkpoints:
        waiting = {*checkpoints.interrupts.threads()}
        old = [run for run in checkpoints.threads(before=_uuid6(before)) if run not in waiting]
        ours = [run for run in old if (state := checkpoints.state(run)) and state["run"]["workflow"] == workflow]
        # a run within another one lasts as long as that, and no longer
        every = checkpoints.threads()
        lasting = {*every} - {*old}
        roots = {root for run in ours if (root := root_run(run)) not in lasting}
        ours = [run for run in every if run in ours or root_run(run) in roots]
        # first what hangs on the runs: who is interrupted here finds them again by their checkpoints
        for schema, table in (
            *((APPROVALS, "decisions"), (APPROVALS, "links"), (TOOL_CALLS, "tool_calls"), (RECOVERED, "recovered")),
            *((WEBHOOKS, "deliveries"), (WEBHOOKS, "events")),
        ):  # fmt: skip
            with erasing(schema) as execute:
                if execute:
                    changed(execute, f"DELETE FROM {table} WHERE run IN (VALUES)", ours)  # noqa: S608
        where, stretches = place(), 0
        if isinstance(where, Server):
            stretches = forget_promises(where, ours) + prune_promises(where, workflow, before)
        for run in ours:
            checkpoints.delete_thread(run)
    return len(ours), stretches


def _traces(workflow: str, before: float) -> int:
    """Those of the home go where a server has them, too; these are counted."""
    gone, before_ns = 0, int(before * 1e9)
    if there(TRACES):
        with closing(Store()) as store:
            gone = store.prune(before_ns, workflow)
    if there(SHARED_TRACES):
        with closing(open_store()) as store:
            gone = store.prune(before_ns, workflow)
    return gone


def _answers(now: float) -> int:
    if not there(CACHE):
        return 0
    with closing(AnswerStore(now=lambda: now)) as cache:
        return cache.expire()


def _results(workflow: str, before: float) -> int:
    """Results of rows are shared by the workflows that give them, and go by their age alone."""
    moment = datetime.fromtimestamp(before, UTC).isoformat()
    gone = 0
    with erasing(RESULTS) as execute:
        if execute:
            gone += len(execute("DELETE FROM results WHERE at < ? RETURNING 1 AS one", (moment,)))
            of_workflow = "DELETE FROM evaluations WHERE at < ? AND workflow = ? RETURNING 1 AS one"
            gone += len(execute(of_workflow, (moment, workflow)))
    with erasing(SHADOW) as execute:
        if execute:
            for table in ("claims", "pairs"):
                rows = execute(
                    f"DELETE FROM {table} WHERE day < ? AND shadow IN"  # noqa: S608
                    " (SELECT number FROM shadows WHERE workflow = ?) RETURNING 1 AS one",
                    (moment[:10], workflow),
                )
                gone += len(rows) if table == "pairs" else 0
    return gone


def _events(workflow: str, before: float) -> int:
    """Those of no run; a budget's is what keeps it from being told twice in its month."""
    with erasing(WEBHOOKS) as execute:
        if not execute:
            return 0
        own = "SELECT id FROM events WHERE workflow IN (?, 'audit log') AND run = '' AND added < ?"
        execute(f"DELETE FROM deliveries WHERE event IN ({own})", (workflow, before))  # noqa: S608
        return len(execute(f"DELETE FROM events WHERE id IN ({own}) RETURNING id", (workflow, before)))  # noqa: S608


def _turns(workflow: str, before: float) -> int:
    with erasing(CONVERSATIONS) as execute:
        if not execute:
            return 0
        return len(
            execute(
                "DELETE FROM turns WHERE workflow = ? AND NOT EXISTS (SELECT 1 FROM turns AS later WHERE"
                " later.workflow = turns.workflow AND later.person = turns.person"
                " AND later.conversation = turns.conversation AND later.at >= ?) RETURNING 1 AS one",
                (workflow, datetime.fromtimestamp(before, UTC).isoformat()),
            )
        )


def _rates() -> int:
    if not there(RATES):
        return 0
    with closing(RateLimiter()) as limiter:
        return limiter.prune()


def _uuid6(at: float) -> str:
    """The smallest id that a checkpoint of this time could have; LangGraph's ids are UUIDs of version 6."""
    ticks = max(0, int(at * 1e7)) + _GREGORIAN
    return f"{ticks >> 28 & 0xFFFFFFFF:08x}-{ticks >> 12 & 0xFFFF:04x}-6{ticks & 0xFFF:03x}"
