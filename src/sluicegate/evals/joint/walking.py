"""What recorded requests come to under other thresholds: no model is asked."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from sluicegate.evals.joint.recording import Recorded, Way, takes
from sluicegate.graphs.config.load import Workflow
from sluicegate.learning.threshold import NEVER
from sluicegate.routing.joint.fit import Outcomes
from sluicegate.routing.joint.thresholds import SCORES, Vector

__all__ = ["candidates", "taken", "walk"]

STEPS = 24
"""Values of each threshold at most."""
ROWS = 8
"""Rows that a value of a threshold takes: with more candidates than rows tell apart, the luckiest looks best."""


def candidates(names: Sequence[str], rows: Sequence[Recorded]) -> list[Vector]:
    """Every combination of thresholds at quantiles of the scores of `rows`, and beyond them."""
    values: list[list[float]] = []
    steps = max(2, min(STEPS, len(rows) // ROWS))
    for name in names:
        field = SCORES[name].field
        scores = sorted({way.scores[field] for row in rows for way in row.ways if field in way.scores})
        inner: list[float] = np.quantile(scores, np.linspace(0, 1, steps), method="lower").tolist() if scores else []
        values.append(sorted({0.0, NEVER, *inner}))
    return [dict(zip(names, each, strict=True)) for each in product(*values)]


def walk(workflow: Workflow, rows: Sequence[Recorded], vectors: Sequence[Vector]) -> Outcomes:
    """Follow every row under every vector of thresholds. A way that was not recorded counts as sent and wrong, so that
    it supports no bound."""
    shape = len(vectors), len(rows)
    sent, wrong, kept = np.ones(shape, bool), np.ones(shape, bool), np.zeros(shape, bool)
    names = list(vectors[0]) if vectors else []
    table = np.array([[vector[name] for name in names] for vector in vectors])
    for number, row in enumerate(rows):
        for way in row.ways:
            on = _on(workflow, way, names, table)
            sent[on, number] = way.sent
            wrong[on, number] = way.wrong
            kept[on, number] = way.kept
    return Outcomes(sent, wrong, kept)


def taken(workflow: Workflow, row: Recorded, vector: Vector) -> Way | None:
    """The way of one row; None where it was not recorded."""
    return next((way for way in row.ways if takes(workflow, way, vector)), None)


def _on(workflow: Workflow, way: Way, names: Sequence[str], table: NDArray[np.floating]) -> NDArray[np.bool_]:
    """The vectors under which a request goes this way. A decision is made once for all that agree on what it reads."""
    on = np.ones(len(table), bool)
    for decision in way.decisions:
        read = [position for position, name in enumerate(names) if name in decision.values]
        distinct, group = np.unique(table[:, read], axis=0, return_inverse=True)
        one = Way(way.at, [decision], sent=way.sent, answered=way.answered, large=way.large, right=way.right)
        same = [
            takes(workflow, one, dict(zip([names[at] for at in read], each, strict=True))) for each in distinct.tolist()
        ]
        on &= np.array(same, bool)[group.reshape(-1)]
    return on
