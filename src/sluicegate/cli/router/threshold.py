"""`sluicegate router threshold`: what other error targets would cost in coverage."""

import asyncio
from typing import Annotated

import typer

from sluicegate.cli._support.console import AsJson, counted, emit
from sluicegate.cli.router.intents import fitted_router, labelled
from sluicegate.cli.router.options import Artifact, Data
from sluicegate.cli.router.tables import rows_table

__all__ = ["threshold"]


def threshold(
    artifact: Artifact,
    data: Data,
    error: Annotated[
        list[float] | None, typer.Option(min=0.0001, max=0.9, help="Error rate to try (repeatable).")
    ] = None,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.9999, help="Confidence level of the error bound.")] = 0.95,
    as_json: AsJson = False,
) -> None:
    """Show threshold and coverage for other error targets, on rows the router was not fitted on."""
    from sluicegate.routing.intent.explain import targets

    router, rows = fitted_router(artifact), labelled(data)
    wanted = error or [0.01, 0.02, 0.05, 0.1, 0.15, 0.2]
    with counted(len(rows)) as on_progress:
        result = asyncio.run(targets(router, rows, wanted, confidence, on_progress=on_progress))
    if as_json:
        emit(result)
        return
    rows_table("Overall", result["overall"])
    rows_table(f"Per intent, at an error of {wanted[0]:.1%}", result["per_intent"])
