"""`sluicegate router`: fit, report and explain routers."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluicegate.cli.show import AsJson, console, emit, notes, progress
from sluicegate.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sluicegate.models.chain import ModelSet
    from sluicegate.routing.router import EmbedNow, FittedRouter

app = typer.Typer(help="Fit, report and explain routers.", no_args_is_help=True)

EMBEDDER = "embedded:all-minilm-l6-v2"
ROLE = "embedder"


@app.callback()
def _root() -> None: ...


@app.command()
def fit(
    source: Annotated[list[Path], typer.Argument(help="Labelled rows: JSON Lines or CSV, may be gzipped.")],
    out: Annotated[Path, typer.Option(help="Folder of the artifact.")],
    calibration: Annotated[
        list[Path] | None, typer.Option(help="Rows for calibration and threshold; without it a part is held apart.")
    ] = None,
    oos_label: Annotated[str | None, typer.Option(help="The label that stands for out of scope.")] = None,
    task: Annotated[
        str, typer.Option(help="`intent`, or `escalate` to learn when the large model is needed.")
    ] = "intent",
    error: Annotated[float, typer.Option(min=0.0001, max=0.9, help="Largest error rate of accepted requests.")] = 0.1,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.9999, help="Probability that the error is held.")] = 0.95,
    embedder: Annotated[str, typer.Option(help="Embedding model, or `none` for words and characters only.")] = EMBEDDER,
    as_json: AsJson = False,
) -> None:
    """Fit a router on labelled rows and write its artifact."""
    from sluicegate.routing.artifact import write_artifact
    from sluicegate.routing.data import joined, read_labelled
    from sluicegate.routing.fit import FitSettings, check_rows

    if task != "intent":
        raise typer.BadParameter("must be intent or escalate", param_hint="--task")
    train = joined([read_labelled(path) for path in source])
    check_rows(train, oos_label=oos_label)
    apart = joined([read_labelled(path) for path in calibration]) if calibration else None
    settings = FitSettings(error=error, confidence=confidence, oos_label=oos_label)
    with progress() as bar:
        line = bar.add_task("reading", total=None)

        def on_progress(done: int, total: int, what: str) -> None:
            bar.update(line, completed=done, total=total, description=what)

        fitted = asyncio.run(_fit(train, apart, settings, embedder, _work(out), on_progress))
    digest = write_artifact(out, fitted.head, fitted.calibrator, fitted.card)
    _clear(_work(out))
    result = {
        "artifact": str(out),
        "hash": digest,
        **fitted.card["metrics"],
        "threshold": fitted.card["threshold"]["value"],
    }
    if train.repeated:
        notes().print(f"{train.repeated} repeated rows were used once")
    if as_json:
        emit(result)
    else:
        _print_pairs(f"{out}", result)


@app.command()
def report(
    artifact: Annotated[Path, typer.Argument(help="Folder of the artifact.")],
    data: Annotated[list[Path], typer.Option(help="Labelled rows to report on.")],
    as_json: AsJson = False,
) -> None:
    """Measure a router on labelled rows it was not fitted on."""
    from sluicegate.routing.data import joined, read_labelled
    from sluicegate.routing.report import report_intents

    rows = joined([read_labelled(path) for path in data])
    router = _loaded(artifact)
    with progress() as bar:
        line = bar.add_task("rows", total=len(rows))
        found = asyncio.run(
            report_intents(router, rows, on_progress=lambda done, _all, _what: bar.update(line, completed=done))
        )
    if as_json:
        emit(found)
    else:
        _print_report(artifact, found)


async def _fit(train: Any, apart: Any, settings: Any, embedder: str, work: Path, on_progress: Any) -> Any:
    from sluicegate.routing.fit import fit_intents

    if embedder == "none":
        return await fit_intents(train, apart, settings, embed=None, embedder=None, work=work, on_progress=on_progress)
    models = _models(embedder)
    facts = {"model": embedder, "fingerprint": await models.fingerprint(ROLE)}

    async def embed(texts: Sequence[str], told: Callable[[int, int], None]) -> "NDArray[np.float32]":
        import numpy as np

        made = await models.embed_named(ROLE, texts, remember=True, on_progress=told)
        return np.asarray(made.vectors, np.float32)

    return await fit_intents(train, apart, settings, embed=embed, embedder=facts, work=work, on_progress=on_progress)


def _loaded(folder: Path) -> "FittedRouter":
    from sluicegate.routing.artifact import read_artifact
    from sluicegate.routing.router import FittedRouter

    artifact = read_artifact(folder)
    embedder = artifact.card.get("embedder")
    return FittedRouter(artifact, embed=_embed_like(embedder) if embedder else None)


def _embed_like(embedder: dict[str, Any]) -> "EmbedNow":
    models = _models(embedder["model"])

    async def embed(texts: Sequence[str]) -> list[list[float]]:
        return (await models.embed_named(ROLE, texts, like=embedder["fingerprint"])).vectors

    return embed


def _models(embedder: str) -> "ModelSet":
    """The one model that embeds, fetched first when it is embedded and absent."""
    from sluicegate.models.chain import ModelSet
    from sluicegate.models.config import ModelConfig
    from sluicegate.models.weights import WEIGHTS, ensure

    provider, _, name = embedder.partition(":")
    if not name:
        raise ModelError("SG308", f"{embedder!r} is not a model", mend="Write provider:model, or none")
    if provider == "embedded" and name in WEIGHTS:
        with progress() as bar:
            line = bar.add_task(f"fetching {name}", total=None)
            ensure(name, lambda done, total: bar.update(line, completed=done, total=total))
    return ModelSet({ROLE: ModelConfig(use=embedder, timeout_s=600)})


def _work(out: Path) -> Path:
    """Where an interrupted fit keeps its pieces."""
    return out.parent / f".{out.name}.fitting"


def _clear(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _print_pairs(title: str, pairs: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table(title=title, show_header=False)
    for name, value in pairs.items():
        table.add_row(name.replace("_", " "), f"{value:.4f}" if isinstance(value, float) else str(value))
    console().print(table)


def _print_report(artifact: Path, found: dict[str, Any]) -> None:
    _print_pairs(str(artifact), {k: v for k, v in found.items() if not isinstance(v, list | dict)})
