"""`sluicegate router drift`: the latest runs beside earlier ones."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from sluicegate.cli._support.console import AsJson, emit, notes
from sluicegate.cli._support.options import Since, since_ns
from sluicegate.cli.router.tables import pairs, rows_table

__all__ = ["drift"]


def drift(
    workflow: Annotated[Path, typer.Argument(help="Workflow file.")],
    since: Since = "7d",
    svg: Annotated[Path | None, typer.Option(help="Write a plot by day to this file (SVG).")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare the latest runs with earlier ones: confidence, label mix, out-of-scope rate. Joint thresholds whose
    scores have drifted since they were fitted open an incident."""
    from sluicegate.evals.joint.watching import watch_joint
    from sluicegate.graphs.config.load import load
    from sluicegate.observe.incidents import Incidents
    from sluicegate.observe.tracing.storing.shared import open_store
    from sluicegate.routing.monitoring import drift as monitoring
    from sluicegate.routing.monitoring.plots import drift_svg

    loaded = load(workflow)
    outside = loaded.out_of_scope
    store, incidents = open_store(), Incidents()
    try:
        rows = store.confidences(loaded.name)
        joint = watch_joint(loaded, store, incidents)
    finally:
        store.close()
        incidents.disconnect()
    if joint and joint.drifted:
        notes().print(
            f"warning: the joint scores drifted (martingale {joint.evidence:,.0f} over {joint.runs} runs): "
            "an incident is open, see `sluicegate incidents list`",
            style="yellow",
            markup=False,
        )
    edge = since_ns(since)
    before = monitoring.window_of([row for row in rows if row["started_ns"] < edge], out_of_scope=outside)
    after = monitoring.window_of([row for row in rows if row["started_ns"] >= edge], out_of_scope=outside)
    result = monitoring.drift(before, after)
    if svg:
        days = monitoring.by_day(rows, out_of_scope=outside)
        boundary = datetime.fromtimestamp(edge / 1e9, UTC).date().isoformat()
        served = {row["threshold"] for row in rows if row["artifact"] == rows[-1]["artifact"]}
        # thresholds per intent cannot be drawn as one line
        last = served.pop() if len(served) == 1 else None
        svg.write_text(
            drift_svg(days, threshold=last, boundary=boundary, title=f"{loaded.name}, by day (UTC)"), "utf-8"
        )
    if as_json:
        emit(result.plain())
    else:
        pairs(loaded.name, result.plain())
        rows_table("Labels with the largest shift", result.moved)
    for warning in result.warnings:
        notes().print(f"warning: {warning}", style="yellow", markup=False)
