"""Whether the runs of a workflow still come to the joint scores that its thresholds were proved on."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sluicegate.graphs.config.inputs.joint import joint_card
from sluicegate.graphs.config.load import Workflow
from sluicegate.observe.incidents import Incidents
from sluicegate.observe.tracing.store import Store
from sluicegate.routing.joint.drift import Drifted, drifted
from sluicegate.routing.joint.thresholds import DRIFT, joint_score, source

__all__ = ["watch_joint"]


def watch_joint(workflow: Workflow, store: Store, incidents: Incidents) -> Drifted | None:
    """Test whether the joint scores of recorded runs are still those of the graded requests, and open an incident where
    they are not; None without thresholds to watch, or while their incident is open.

    Only runs of this version count, and those since the last such incident was closed.
    """
    card = joint_card(workflow.config, workflow.resolved)
    if card is None:
        return None
    own = [
        one
        for one in incidents.list(status="all")
        if (one["kind"], one["system"], one["source"]) == (DRIFT, workflow.name, source(card))
    ]
    if any(one["status"] == "open" for one in own):
        return None
    closed = max((datetime.fromisoformat(one["closed_at"]) for one in own if one["closed_at"]), default=None)
    # an incident says the second
    since = int((closed.timestamp() + 1) * 1e9) if closed else 0
    rows = [row for row in store.confidences(workflow.name, since_ns=since) if row["digest"] == workflow.digest]
    scores = [joint_score(card["thresholds"], _scores(row)) for row in rows]
    found = drifted(card["scores"], [score for score in scores if score is not None])
    if found.drifted:
        joint = workflow.config.router.joint
        what = (
            f"the joint scores of the last {found.runs} runs are not those of the graded requests "
            f"(martingale {found.evidence:,.0f}): the bound on what goes out unasked no longer holds"
        )
        impact = f"{joint.on_drift} thresholds serve until this incident is closed" if joint else ""
        incidents.record(DRIFT, system=workflow.name, source=source(card), description=what, impact=impact)
    return found


_COLUMNS = {
    "intent.confidence": "confidence",
    "router.needs_large": "needs_large",
    "answer.confidence": "answer_confidence",
}


def _scores(row: Mapping[str, Any]) -> dict[str, float]:
    return {field: float(row[column]) for field, column in _COLUMNS.items() if row[column] is not None}
