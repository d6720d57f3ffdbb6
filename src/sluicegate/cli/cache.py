"""`sluicegate cache`: what the answer cache holds and has saved, and how well a semantic cache would do."""

import asyncio
import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluicegate.cli._support.console import AsJson, console, emit

if TYPE_CHECKING:
    from sluicegate.services import Models

__all__ = ["app"]

app = typer.Typer(help="Show, clear and measure the answer cache.", no_args_is_help=True)

Similarity = Annotated[
    float, typer.Option(min=0.5, max=1.0, help="Minimum cosine similarity, like a workflow's `cache.similarity`.")
]
Model = Annotated[str, typer.Option(help="The embedding model, as provider:model.")]
_EMBEDDER = "embedded:all-minilm-l6-v2"


@app.command()
def show(as_json: AsJson = False) -> None:
    """Show how many answers are cached, how often they were reused, and what that saved."""
    from sluicegate.policies.cache.cache import AnswerStore

    cache = AnswerStore()
    found = cache.stats()
    cache.close()
    if as_json:
        emit(found)
        return
    screen = console()
    screen.print(f"{found['entries']} answers, {found['bytes'] / 1e6:.1f} MB, {found['evicted']} evicted")
    asked = found["hits"] + found["misses"]
    screen.print(f"hits: {found['hits']} of {asked} look-ups ({found['hit_rate']:.0%})")
    screen.print(f"saved: ${found['saved_usd']:.4f} (original cost of the cached answers)")


@app.command()
def clear(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    by: Annotated[str, typer.Option("--by", help="Acting user; by default the signed-in one.")] = "",
    as_json: AsJson = False,
) -> None:
    """Delete every cached answer and its questions. Recorded in the audit log."""
    from sluicegate.observe.audit.log import open_audit
    from sluicegate.policies.cache.cache import AnswerStore

    if not yes:
        typer.confirm("Delete every cached answer?", abort=True, err=True)
    cache = AnswerStore()
    count = cache.clear()
    cache.close()
    open_audit().append("cache.cleared", actor=by or getpass.getuser(), facts={"answers": count})
    if as_json:
        emit({"cleared": count})
    else:
        console().print(f"{count} entries deleted")


@app.command()
def compare(
    one: Annotated[str, typer.Argument(help="A question.")],
    other: Annotated[str, typer.Argument(help="Another one.")],
    model: Model = _EMBEDDER,
    similarity: Similarity = 0.85,
    as_json: AsJson = False,
) -> None:
    """Show whether a semantic cache would treat two questions as the same, and if not, why."""
    from sluicegate.evals.evaluation.cache_eval import QuestionPair, try_pairs

    [tried] = asyncio.run(try_pairs([QuestionPair(one=one, other=other, same=True)], _models(model)))
    why = tried.difference or ("" if tried.similarity >= similarity else f"less similar than {similarity:g}")
    if as_json:
        emit({"same": not why, "similarity": round(tried.similarity, 4), "why": why})
    else:
        verdict = f"kept apart: {why}" if why else "the same"
        console().print(f"{verdict} (similarity {tried.similarity:.3f})", markup=False)


@app.command("eval")
def eval_(
    data: Annotated[Path, typer.Option(help="JSON Lines with `one`, `other`, `same`; optional `kind` and `part`.")],
    part: Annotated[str, typer.Option(help="Only pairs of this split, such as held.")] = "",
    model: Model = _EMBEDDER,
    similarity: Similarity = 0.85,
    as_json: AsJson = False,
) -> None:
    """Measure precision and recall of a semantic cache on labelled pairs of questions."""
    from sluicegate.evals.evaluation.cache_eval import figures, read_pairs, try_pairs

    pairs = read_pairs(data, part=part)
    found = figures(asyncio.run(try_pairs(pairs, _models(model))), similarity)
    found["model"] = model
    if as_json:
        emit(found)
        return
    from rich.table import Table

    screen, alone = console(), found["similarity_alone"]
    screen.print(f"{found['pairs']} pairs, {model}, similarity from {similarity:g}")
    table = Table("", "hits", "precision", "recall", box=None)
    table.add_row("similarity and verifier", *_row(found))
    table.add_row("similarity alone", *_row(alone))
    screen.print(table)
    by_kind = Table("kind", "pairs", "hits", box=None)
    for row in found["kinds"]:
        label = f"{row['kind'] or 'any'}, {'the same' if row['same'] else 'look-alikes'}"
        by_kind.add_row(label, str(row["pairs"]), str(row["hits"]))
    screen.print(by_kind)
    for one, other in found["false_hits"]:
        screen.print(f"false hit: {one} | {other}", markup=False)


def _row(figures: dict[str, Any]) -> tuple[str, str, str]:
    def said(estimate: dict[str, float] | None) -> str:
        return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]" if estimate else "-"

    return str(figures["hits"]), said(figures["precision"]), said(figures["recall"])


def _models(model: str) -> "Models":
    from pydantic import ValidationError

    from sluicegate.models.chain import ModelSet
    from sluicegate.models.config import ModelConfig

    try:
        return ModelSet({"embedder": ModelConfig.model_validate({"use": model})})
    except ValidationError:
        raise typer.BadParameter("is provider:model, such as ollama:all-minilm", param_hint="--model") from None
