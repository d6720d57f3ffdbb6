"""`sluicegate router explain`: why a request gets its label."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluicegate.cli._support.console import AsJson, emit
from sluicegate.cli.router.embedders import ROLE, embedding, only
from sluicegate.cli.router.escalation import explain_escalation
from sluicegate.cli.router.intents import fitted_router, labelled
from sluicegate.cli.router.tables import pairs, rows_table

if TYPE_CHECKING:
    from sluicegate.routing.intent.fit import Embed
    from sluicegate.routing.intent.router import FittedRouter

__all__ = ["explain"]


def explain(
    text: Annotated[str, typer.Argument(help="The request.")],
    artifact: Annotated[Path, typer.Option("--router", help="Folder of the router artifact.")],
    examples: Annotated[
        list[Path] | None, typer.Option(help="Labelled rows to search for the nearest examples.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Explain the label of a request, or why it needs the large model: alternatives, features, nearest examples."""
    from sluicegate.learning.artifact import read_card
    from sluicegate.routing.intent.explain import explain_text

    if read_card(artifact)["task"] == "escalate":
        result = explain_escalation(text, artifact)
    else:
        router = fitted_router(artifact)
        rows = labelled(examples) if examples else None
        result = asyncio.run(explain_text(router, text, rows, embed=_embed_examples(router)))
    if as_json:
        emit(result)
        return
    pairs(text, result)
    rows_table("Alternatives", result.get("alternatives", []))
    rows_table("Contributing features", result["evidence"])
    rows_table("Nearest examples", result.get("nearest", []))


def _embed_examples(router: "FittedRouter") -> "Embed | None":
    embedder = router.artifact.card["embedder"]
    return embedding(only(embedder["model"]), ROLE)[0] if embedder else None
