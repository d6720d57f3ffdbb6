"""`sluicegate router report`: a router on rows it was not fitted on."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from sluicegate.cli._support.console import AsJson, counted, emit
from sluicegate.cli.router.answers import read_for
from sluicegate.cli.router.escalation import report_on
from sluicegate.cli.router.intents import fitted_router, labelled
from sluicegate.cli.router.joint import show_joint
from sluicegate.cli.router.options import Artifact
from sluicegate.cli.router.tables import pairs, rows_table, write_page

__all__ = ["report"]


def report(
    artifact: Artifact,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Labelled rows (JSON Lines or CSV, optionally gzipped); joint thresholds need none."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write an HTML report with plots to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate a router on rows it was not fitted on; of joint thresholds, say what they promise."""
    from sluicegate.learning.artifact import read_card
    from sluicegate.routing.monitoring.plots import cost_quality_svg, reliability_svg

    card = read_card(artifact)
    kind = card["task"]
    if kind == "joint":
        show_joint(card, as_json=as_json)
        return
    if not data:
        raise typer.BadParameter("is required: labelled rows that the router was not fitted on", param_hint="--data")
    if kind == "answer":
        from sluicegate.routing.answers.answer import load_fit
        from sluicegate.routing.answers.report import report_answers

        result = report_answers(load_fit(artifact), read_for(artifact, data))
        svgs = [reliability_svg(result["reliability"], title="Reliability")] if html else []
    elif kind == "escalate":
        result = report_on(artifact, data)
        svgs = [
            cost_quality_svg(
                result["curve"],
                weak=result["weak_accuracy"],
                strong=result["strong_accuracy"],
                reached={0.5: result["cpt50"], 0.8: result["cpt80"]},
                title=f"Cost and quality: APGR {result['apgr']:.3f} on {result['rows']:,} rows",
            )
        ]
    else:
        result = _report_intents(artifact, data)
        title = f"Reliability: ECE {result['ece']:.3f} on {result['rows']:,} rows"
        svgs = [reliability_svg(result["reliability"], threshold=result["threshold"], title=title)] if html else []
    if html:
        write_page(html, result, svgs, title=f"Router {artifact.name}")
    if as_json:
        emit(result)
        return
    pairs(str(artifact), result)
    rows_table("Per class", result.get("per_class", []))
    rows_table("Thresholds by predicted label", result.get("thresholds", []))
    rows_table("Most confused", result.get("confused", []))


def _report_intents(artifact: Path, data: Sequence[Path]) -> dict[str, Any]:
    from sluicegate.routing.monitoring.report import report_intents

    router, rows = fitted_router(artifact), labelled(data)
    with counted(len(rows)) as on_progress:
        return asyncio.run(report_intents(router, rows, on_progress=on_progress))
