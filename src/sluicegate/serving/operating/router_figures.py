"""What is known of a workflow's router: what it was proved to hold when it was fitted, and what its runs show since."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from sluicegate.errors import SluicegateError
from sluicegate.evals.evaluation.result_store import KeptEvaluation, ResultStore
from sluicegate.graphs.config.inputs.cards import router_cards
from sluicegate.graphs.config.load import Workflow
from sluicegate.observe.tracing.storing.shared import open_store
from sluicegate.routing.calibration.calibration import ReliabilityBin, reliability
from sluicegate.routing.monitoring.drift import Drift, drift, window_of

__all__ = ["MOST", "Reliability", "RouterFigures", "Trusted", "cards_of", "reliability_of", "runs_of"]

MOST = 1000
"""Runs of each window that a page compares: enough for every test, however many there are."""
_DAYS = 30


@dataclass(frozen=True, slots=True)
class Trusted:
    """Of the runs of a window, those whose label reached its threshold."""

    runs: int
    share: float


@dataclass(frozen=True, slots=True)
class RouterFigures:
    """The latest runs beside those before."""

    drift: Drift | None
    why_not: str
    """Why there is no test; empty when there is one."""
    earlier: Trusted
    later: Trusted
    days: Sequence[Mapping[str, Any]]
    """As `drift.by_day`, of the last thirty days."""
    boundary: str
    """The first day of the later window."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """How often labels were right, by confidence, in an evaluation."""

    evaluation: KeptEvaluation
    bins: Sequence[ReliabilityBin]


def cards_of(workflow: Workflow) -> tuple[list[dict[str, Any]], str]:
    """The cards, and why they cannot be read; kept, since the digest covers them."""
    if workflow.digest not in _cards:
        try:
            found = router_cards(workflow.config, workflow.resolved), ""
        except SluicegateError as error:
            return [], error.message
        while len(_cards) >= _KEPT:
            _cards.pop(next(iter(_cards)), None)
        _cards[workflow.digest] = found
    return _cards[workflow.digest]


_cards: dict[str, tuple[list[dict[str, Any]], str]] = {}
_KEPT = 32


def runs_of(workflow: Workflow, *, days: int, now: datetime) -> RouterFigures:
    """The last `days` beside what was before them, each window by its newest `MOST` runs."""
    edge = now - timedelta(days=days)
    at, outside = int(edge.timestamp() * 1e9), workflow.out_of_scope
    with closing(open_store()) as store:
        before = store.confidences(workflow.name, until_ns=at, most=MOST)
        after = store.confidences(workflow.name, since_ns=at, most=MOST)
        since = int((now - timedelta(days=_DAYS)).timestamp() * 1e9)
        by_day = store.days_of_confidence(workflow.name, since_ns=since, out_of_scope=outside)
    tested, why_not = None, ""
    try:
        tested = drift(window_of(before, out_of_scope=outside), window_of(after, out_of_scope=outside))
    except SluicegateError as error:
        why_not = error.message
    return RouterFigures(tested, why_not, _trusted(before), _trusted(after), by_day, edge.date().isoformat())


def reliability_of(workflow: str) -> Reliability | None:
    """Of the newest evaluation that knows the right intents; None when there is none."""
    with closing(ResultStore()) as store:
        for evaluation in store.evaluations(workflow):
            if evaluation.variant == "workflow" and "calibration_error" in evaluation.metrics:
                _, rows = store.evaluation(evaluation.number)
                pairs = [
                    (row.metrics["confidence"], row.metrics["intent_right"])
                    for row in rows
                    if {"confidence", "intent_right"} <= row.metrics.keys()
                ]
                told = np.array(pairs, float).reshape(-1, 2)
                return Reliability(evaluation, reliability(told[:, 0], told[:, 1] > 0.5))
    return None


def _trusted(rows: Sequence[Mapping[str, Any]]) -> Trusted:
    known = [row for row in rows if row["threshold"] is not None]
    share = sum(row["confidence"] >= row["threshold"] for row in known) / len(known) if known else 0.0
    return Trusted(len(rows), share)
