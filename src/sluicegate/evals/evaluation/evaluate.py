"""Running a labelled file through a workflow: bounded concurrency, resumable, one row of metrics per case."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sluicegate.errors import RetrievalError, SluicegateError
from sluicegate.evals.evaluation.baselines import Variant, metered
from sluicegate.evals.evaluation.cases import Case
from sluicegate.evals.evaluation.judge import Judge
from sluicegate.evals.evaluation.result_store import ResultStore, Row
from sluicegate.evals.evaluation.scoring import measure, said
from sluicegate.graphs.runtime.run import Runner
from sluicegate.services import EmbeddingRequest

__all__ = ["conditions", "evaluate"]


def conditions(runner: Runner, variant: Variant, *, judge: Judge | None = None) -> str:
    """A hash of everything that a row's result depends on besides the row."""
    facts, retriever = runner.services.workflow, runner.services.retriever
    versions: list[str] = []
    for index in facts.indexes:
        try:
            versions.append(f"{index}={retriever.version(index)}")
        except RetrievalError as error:
            versions.append(f"{index}={error.code}")
    parts = [facts.digest, variant, *versions, judge.identity if judge else ""]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


async def evaluate(
    runner: Runner,
    cases: Sequence[Case],
    *,
    under: str,
    kept: ResultStore | None = None,
    judge: Judge | None = None,
    concurrency: int = 1,
    on_row: Callable[[Row], None] | None = None,
) -> list[Row]:
    """The rows in the order of the cases; known ones are taken from `kept`. A run that fails is a row with an error."""
    gate = asyncio.Semaphore(concurrency)

    async def one(case: Case) -> Row:
        known = kept.row(under, case.id) if kept else None
        if known is None:
            async with gate:
                known = replace(await _row(runner, case, judge), at_once=concurrency)
            if kept:
                kept.keep(under, known)
        if on_row:
            on_row(known)
        return known

    return list(await asyncio.gather(*(one(case) for case in cases)))


async def _row(runner: Runner, case: Case, judge: Judge | None) -> Row:
    slices = (*case.slices, *([f"intent: {case.intent}"] if case.intent else []))
    try:
        with metered() as meter:
            outcome = await runner.run(case.text, case.principal, channel="eval")
    except SluicegateError as error:
        # failing on hard rows must not improve the scores of the rest
        wrong = {"failed": 1.0} | ({"correct": 0.0} if case.expects_result else {})
        return Row(case.id, "", case.text, "failed", "failed", "", "", "", "", slices, wrong, str(error))
    summary, text = outcome.summary, said(outcome)
    metrics = measure(outcome, case, list_usd=meter.list_usd) | {"failed": 0.0}
    if case.path == "cache":
        metrics.pop("path_right")  # the cache is off here, so this cannot be scored
    if meter.large is not None:
        metrics["without_llm"] = float(meter.large == 0)
    if case.answer is not None and text:
        metrics |= await _similarity(runner.services, text, case.answer)
    if judge and text and (case.facts or case.answer):
        metrics |= await judge.verdict(case.text, text, case.answer or "; ".join(case.facts))
    return Row(
        case.id,
        summary.run,
        case.text,
        summary.status,
        summary.path or "",
        summary.intent or "",
        text,
        summary.model or "",
        summary.fallback or "",
        slices,
        metrics,
    )


async def _similarity(services: Any, text: str, expected: str) -> dict[str, float]:
    """Cosine of the embeddings of answer and expected answer, at least 0."""
    try:
        one, other = (await services.models.embed(EmbeddingRequest("embedder", [text, expected]))).vectors
    except SluicegateError:
        return {}
    return {"answer_similarity": max(0.0, sum(a * b for a, b in zip(one, other, strict=True)))}
