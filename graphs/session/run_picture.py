"""A recorded run on the picture of its workflow: its way, what its conditions read, how long its nodes took."""

from collections.abc import Mapping, Sequence
from typing import Any

from sluicegate.graphs.config.load import Workflow
from sluicegate.graphs.picture.annotations import short
from sluicegate.graphs.picture.picture import svg
from sluicegate.graphs.session.reading_rights import RecordedRun
from sluicegate.observe.views.tree import timing

__all__ = ["picture_of_run"]

_LONGEST = 44


def picture_of_run(workflow: Workflow, run: RecordedRun, *, styled: bool = True) -> str:
    """An SVG, as `svg` makes it; the node at which a run waits, or is, has a ring."""
    flow = workflow.flow
    visits = [span for span in run.spans if span["attributes"].get("node") in flow.nodes]
    took: dict[str, float] = {}
    for span in visits:
        node = span["attributes"]["node"]
        took[node] = took.get(node, 0.0) + (span["end_ns"] - span["start_ns"]) / 1e6
    return svg(
        flow,
        title=f"{workflow.name}, version {workflow.version}",
        taken=_way(visits, run.decisions),
        current=visits[-1]["attributes"]["node"] if visits and run.row["status"] in ("waiting", "running") else None,
        notes={node: timing(ms) for node, ms in took.items()},
        values={
            (each["node"], each["taken"]): text
            for each in run.decisions
            if each["node"] in flow.nodes and (text := _values(each["values"]))
        },
        styled=styled,
    )


def _way(visits: Sequence[Mapping[str, Any]], decisions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The visits in order, each with the branch that was taken after it."""
    left: dict[str, list[Mapping[str, Any]]] = {}
    for each in decisions:
        left.setdefault(each["node"], []).append(each)
    way = list[dict[str, Any]]()
    for span in visits:
        if span["attributes"].get("interrupted"):
            # the visit goes on when the run is resumed
            continue
        node = span["attributes"]["node"]
        taken = left[node].pop(0) if left.get(node) else None
        branch = {"to": taken["taken"], "condition": taken["condition"]} if taken else None
        way.append({"node": node, "branch": branch})
    return way


def _values(values: Mapping[str, Any]) -> str:
    text = " ".join(f"{name.rpartition('.')[2]}={short(value)}" for name, value in values.items())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
