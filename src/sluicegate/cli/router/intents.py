"""Routers of intents, as the commands share them: what a workflow wants of one, fitting it, reading it back."""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluicegate.cli._support.console import counted, notes
from sluicegate.cli.router.embedders import embed_like, embedding, models_of
from sluicegate.errors import InsufficientDataError, ModelError, nearest
from sluicegate.services import EmbeddingRequest

if TYPE_CHECKING:
    from sluicegate.graphs.config.load import Workflow
    from sluicegate.models.chain import ModelSet
    from sluicegate.routing.data import Labelled
    from sluicegate.routing.intent.fit import FitSettings
    from sluicegate.routing.intent.router import FittedRouter

__all__ = ["examples_of", "fit_artifact", "fitted_router", "labelled", "serving_router", "settings_of"]


def labelled(data: Sequence[Path]) -> "Labelled":
    """The rows of several files."""
    from sluicegate.routing.data import joined, read_labelled

    return joined([read_labelled(path) for path in data])


def examples_of(workflow: "Workflow") -> "tuple[Labelled, Labelled | None]":
    """A workflow's rows to fit on, and those to calibrate on. Raises `ModelError` SG312, SG313."""
    from sluicegate.routing.data import read_labelled

    files = workflow.config.examples
    if files.train is None:
        raise InsufficientDataError(
            f"{workflow.name} names no examples to fit on",
            hint="Add `examples: {train: examples/train.jsonl}` to the workflow",
        )
    apart = read_labelled(workflow.find(files.calibration)) if files.calibration else None
    train = read_labelled(workflow.find(files.train))
    intents = workflow.config.intents
    for name, rows in ((files.train, train), (files.calibration, apart)):
        if rows is not None and (unknown := sorted(set(rows.labels) - intents.keys())):
            near = nearest(unknown[0], list(intents))
            raise ModelError(
                "SG312",
                f"{name} labels rows {', '.join(unknown[:5])}, which {workflow.name} does not have",
                hint=(f"Did you mean {near!r}? " if near else "") + f"Its intents: {', '.join(intents)}",
            )
    if missing := [name for name in intents if name not in train.labels]:
        notes().print(
            f"no examples of {', '.join(missing)}: the router can never predict these", style="yellow", markup=False
        )
    return train, apart


def settings_of(workflow: "Workflow", method: Any, *, need_threshold: bool) -> "FitSettings":
    """What a workflow says about the fit of its router."""
    from sluicegate.routing.intent.fit import FitSettings

    target = workflow.config.router.target
    return FitSettings(
        error=target.error,
        confidence=target.confidence,
        oos_label=workflow.out_of_scope,
        per=target.per,
        method=method,
        need_threshold=need_threshold,
    )


def fit_artifact(
    train: "Labelled",
    calibration: "Labelled | None",
    settings: "FitSettings",
    models: "ModelSet | None",
    role: str,
    out: Path,
) -> dict[str, Any]:
    """Fit a router and write its artifact to `out`; what it measured, for display.

    An interrupted fit continues where it was.
    """
    from sluicegate.learning.artifact import check_place
    from sluicegate.routing.intent.artifact import write_artifact
    from sluicegate.routing.intent.fit import check_rows, fit_intents

    check_rows(train, oos_label=settings.oos_label)
    check_place(out)
    work = out.parent / f".{out.name}.fitting"
    with counted(None) as on_progress:
        embed, facts = embedding(models, role) if models else (None, None)
        try:
            fitted = asyncio.run(
                fit_intents(
                    train, calibration, settings, embed=embed, embedder=facts, work=work, on_progress=on_progress
                )
            )
        except InsufficientDataError:  # refused, not interrupted: nothing to continue with
            shutil.rmtree(work, ignore_errors=True)
            raise
    digest = write_artifact(out, fitted.head, fitted.calibrator, fitted.card)
    shutil.rmtree(work, ignore_errors=True)
    if train.repeated:
        notes().print(f"{train.repeated} duplicate rows were dropped")
    return {
        "artifact": str(out),
        "hash": digest,
        **fitted.card["rows"],
        **fitted.card["metrics"],
        "threshold": fitted.card["threshold"]["value"],
        "per": settings.per,
        "own_thresholds": len(fitted.card["threshold"]["per_intent"]["own"]) if settings.per == "intent" else 0,
        "calibration_method": fitted.calibrator.method,
    }


def fitted_router(folder: Path) -> "FittedRouter":
    """The router of an artifact, with the embedder that it names."""
    from sluicegate.routing.intent.artifact import read_artifact
    from sluicegate.routing.intent.router import FittedRouter

    artifact = read_artifact(folder)
    embedder = artifact.card["embedder"]
    return FittedRouter(artifact, embed=embed_like(embedder) if embedder else None)


def serving_router(workflow: "Workflow") -> "FittedRouter":
    """The router that a workflow uses now, with the workflow's embedder."""
    from sluicegate.routing.intent.artifact import read_artifact
    from sluicegate.routing.intent.router import FittedRouter

    config = workflow.config.router
    artifact = read_artifact(workflow.find(config.artifact or ""))
    models = models_of(workflow)
    facts = artifact.card["embedder"]

    async def embed(texts: Sequence[str]) -> Sequence[Sequence[float]]:
        return (await models.embed(EmbeddingRequest(config.embedder, texts, like=facts["fingerprint"]))).vectors

    return FittedRouter(
        artifact,
        embed=embed if facts else None,
        threshold=config.threshold,
        per=config.target.per,
        languages=config.languages,
    )
