"""Confidence in answers, learned from graded answers: fitted, and the rows to evaluate it on."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluicegate.cli._support.console import emit, notes, progress
from sluicegate.cli.router.embedders import ROLE, embed_like, embedding, fetched, models_of, only
from sluicegate.cli.router.grade import graded_answers
from sluicegate.cli.router.tables import pairs
from sluicegate.errors import ConfigError, InsufficientDataError, Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sluicegate.evals.evaluation.grading import GradedAnswer
    from sluicegate.routing.answers.answer import Style
    from sluicegate.routing.answers.fit import AnswerTarget, Graded
    from sluicegate.routing.intent.fit import Embed

__all__ = ["fit_answer_files", "fit_workflow_answers", "read_for"]


def fit_workflow_answers(
    path: Path,
    out: Path | None,
    *,
    models: Sequence[str] = (),
    styles: "Sequence[Style]" = (),
    needed: bool,
    as_json: bool,
) -> None:
    """Grade the workflow's own examples, fit on those of `train`, prove the threshold on those of `answers`.

    With `models`, each answers them in place of the workflow's small model; with `styles`, in each of these. What holds
    for any model is graded once.
    """
    from sluicegate.evals.evaluation.grading import answering
    from sluicegate.graphs.config.load import load
    from sluicegate.models.embedded.weights import WEIGHTS
    from sluicegate.routing.answers.fit import AnswerTarget

    workflow = load(path)
    files, router = workflow.config.examples, workflow.config.router
    folder = out or (workflow.folder / router.answers if router.answers else None)
    if folder is None:
        raise ConfigError(
            [Problem("SG106", f"{path} names no `router: {{answers: …}}`", hint="Name a folder there, or give --out")]
        )
    proving = files.answers or files.calibration
    if files.train is None or proving is None:
        raise ConfigError([Problem("SG106", f"{path} needs `examples: {{train: …, answers: …}}` with facts")])
    train, apart = workflow.find(files.train), workflow.find(proving)
    target = AnswerTarget(router.answer_target.error, router.answer_target.confidence, needed)
    variants = [answering(workflow, model, style) for model in models or [None] for style in styles or [None]]
    for name in (model.removeprefix("embedded:") for model in models):
        fetched(name) if name in WEIGHTS else None
    fitted, proved = (
        _once([_as_graded(graded_answers(one, [part], labelled=part == train)) for one in variants])
        for part in (train, apart)
    )
    embed, embedder = embedding(models_of(workflow), ROLE)
    fitted, proved = (_with_vectors(part, embed) for part in (fitted, proved))
    _fit(fitted, proved, target, [train, apart], folder, embedder, as_json=as_json)


def fit_answer_files(
    source: Sequence[Path],
    apart: Sequence[Path] | None,
    target: "AnswerTarget",
    out: Path,
    embedder: str,
    *,
    as_json: bool,
) -> None:
    """Fit on files of graded answers. `embedder` is the model's name, or none; it is used where every row has its
    question."""
    train, proof = (_read(paths) if paths else None for paths in (source, apart))
    facts: Mapping[str, str] | None = None
    if embedder != "none" and all(row.question for row in [*(train or ()), *(proof or ())]):
        embed, facts = embedding(only(embedder), ROLE)
        train, proof = (_with_vectors(rows, embed) if rows is not None else None for rows in (train, proof))
    _fit(train or [], proof, target, [*source, *(apart or ())], out, facts, as_json=as_json)


def read_for(artifact: Path, data: Sequence[Path]) -> "list[Graded]":
    """Graded answers as the confidence in `artifact` judges them. Raises `ModelError` SG313 for rows that lack their
    question where it reads that."""
    from sluicegate.learning.artifact import read_card

    rows, embedder = _read(data), read_card(artifact, task="answer").get("embedder")
    if embedder is None:
        return rows
    if silent := sum(not row.question for row in rows):
        what = f"{silent} of {len(rows)} rows have no question, which {artifact} compares with others"
        raise InsufficientDataError(what, hint="Write them with `sluicegate router grade`")
    embed = embed_like(embedder)

    async def embedded() -> "Sequence[Sequence[float]]":
        return await embed([row.question for row in rows])

    return [replace(row, vector=vector) for row, vector in zip(rows, asyncio.run(embedded()), strict=True)]


def _read(paths: Sequence[Path]) -> "list[Graded]":
    from sluicegate.routing.answers.fit import read_graded
    from sluicegate.routing.data import read_rows

    return read_graded([row for path in paths for row in read_rows(path)])


def _with_vectors(rows: "Sequence[Graded]", embed: "Embed") -> "list[Graded]":
    if not rows:
        return []
    with progress() as line:
        task = line.add_task("embedding questions", total=len(rows))

        async def embedded() -> "NDArray[np.float32]":
            return await embed([row.question for row in rows], lambda done, _total: line.update(task, completed=done))

        vectors: list[list[float]] = asyncio.run(embedded()).tolist()
    return [replace(row, vector=vector) for row, vector in zip(rows, vectors, strict=True)]


def _fit(
    train: "Sequence[Graded]",
    apart: "Sequence[Graded] | None",
    target: "AnswerTarget",
    files: Sequence[Path],
    out: Path,
    embedder: "Mapping[str, str] | None",
    *,
    as_json: bool,
) -> None:
    """One artifact for each model and style, in a folder of its own under `out`."""
    from sluicegate.learning.artifact import CARD, WEIGHTS
    from sluicegate.routing.answers.answer import folder_of
    from sluicegate.routing.answers.fit import LEAST, by_origin, fit_answers

    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    groups, held = by_origin(train), by_origin(apart or ())
    fittable = {origin: rows for origin, rows in groups.items() if len(rows) >= LEAST}
    results: list[dict[str, Any]] = []
    for (model, style), rows in sorted((fittable or groups or {("", "write"): []}).items()):
        folder, proof = out / folder_of((model, style)), None if apart is None else held.get((model, style), [])
        card = fit_answers(rows, proof, target=target, digests=digests, out=folder, embedder=embedder)
        results.append(
            {
                "artifact": str(folder),
                "model": model,
                "style": style,
                "hash": card["hash"],
                **card["rows"],
                **card["metrics"],
                "threshold": card["threshold"]["value"],
                "accepted_error_bound": card["threshold"]["bound"],
                "answerability_auroc": (card["answerability"] or {}).get("auroc"),
            }
        )
        if not card["threshold"]["proved"]:
            notes().print(f"{model} {style}: no threshold could be proved: nothing is accepted", style="yellow")
    for model, style in groups.keys() - fittable.keys():
        few = len(groups[model, style])
        notes().print(f"{model} {style}: no fit, as only {few} answers of it were graded; at least {LEAST} are needed")
    for name in (CARD, WEIGHTS):  # of an artifact for all models, as earlier releases fitted them
        (out / name).unlink(missing_ok=True)
    if as_json:
        emit(results)
        return
    for result in results:
        pairs(result["artifact"], result)


def _once(variants: "Sequence[Sequence[Graded]]") -> "list[Graded]":
    """The rows of all variants; of those that hold for any model, the first variant's only."""
    from sluicegate.routing.answers.answer import ANY

    found: list[Graded] = []
    for rows in variants:
        there = {row.origin for row in found if row.model == ANY}
        found += [row for row in rows if row.origin not in there]
    return found


def _as_graded(answers: "Sequence[GradedAnswer]") -> "list[Graded]":
    from sluicegate.routing.answers.fit import Graded

    return [Graded(each.features, each.right, each.model, each.text, each.known) for each in answers]
