"""`sluicegate guard`: list guards, measure or fit one on labelled rows, or run some on a text."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from sluicegate.cli._support.console import AsJson, console, emit
from sluicegate.errors import PolicyError, nearest

__all__ = ["app"]

app = typer.Typer(help="List, measure, fit and try guards.", no_args_is_help=True)

Settings = Annotated[str, typer.Option("--settings", help="Settings of the guard as JSON, as under `guards:`.")]
Stage = Annotated[str, typer.Option(help="Stage: request, retrieved or output.")]


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List the guards that a workflow can use."""
    from sluicegate.policies.guards.registry import guards

    rows = [
        {"guard": kind.name, "stages": sorted(kind.stages), "action": kind.settings().action, "doc": kind.doc}
        for kind in guards().values()
    ]
    if as_json:
        emit(rows)
        return
    from rich.table import Table

    table = Table("guard", "on", "on failure", "checks", box=None)
    for row in rows:
        table.add_row(str(row["guard"]), ", ".join(row["stages"]), str(row["action"]), str(row["doc"]))
    console().print(table)


@app.command("eval")
def eval_(
    name: Annotated[str, typer.Argument(help="Name of the guard.")],
    data: Annotated[
        Path, typer.Option(help="JSONL with `text` and `attack`, `flagged`, `safe` or `spans`; may be .gz.")
    ],
    *,
    settings: Settings = "",
    stage: Stage = "request",
    as_json: AsJson = False,
) -> None:
    """Measure one guard on labelled rows.

    Prints rows, recall, precision, the false positive rate and the median time. For `pii`, recall and precision are
    over the structured entity types, and every type is listed with the overlap of its spans; all types that have
    patterns are detected unless `--settings` limits them.
    """
    from sluicegate.policies.guards.measure import load_rows, measure

    check, covered = _check(name, settings, every_entity=True)
    result: dict[str, Any] = {"guard": name, **measure(check, load_rows(data, stage=_stage(stage)))}
    if covered:
        labelled = set(result.get("entities", {}))
        result["covered"] = sorted(covered)
        result["not_covered"] = sorted(labelled - set(covered))
    if as_json:
        emit(result)
        return
    _show(result)


@app.command()
def fit(
    name: Annotated[str, typer.Argument(help="Name of the guard: injection or slm-review.")],
    data: Annotated[
        list[Path],
        typer.Option(help="JSONL (or .gz) with `text` and `attack`; of slm-review `answer` and `label`."),
    ],
    out: Annotated[Path, typer.Option(help="Output folder of the fitted model.")],
    *,
    calibration: Annotated[
        list[Path] | None, typer.Option(help="Drafts of other sources, on which the threshold of slm-review is proved.")
    ] = None,
    error: Annotated[
        float | None,
        typer.Option(
            min=0.0001,
            max=0.5,
            help="Maximum share of harmless rows flagged (injection, 0.01), or improper drafts passed (0.3).",
        ),
    ] = None,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.9999, help="Confidence level of that bound.")] = 0.95,
    keep_threshold: Annotated[
        bool, typer.Option("--keep-threshold", help="Keep the shipped threshold, with no bound on these rows.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Continue the shipped injection model on labelled rows of your own, or fit the head of slm-review to drafts.

    Of injection, a fifth of the harmless rows is kept apart, and the threshold is proved on it. Prints the share of
    rows flagged by kind and source, by models that had not seen the row's source, and by some that had, but nothing
    like the row. The drafts of slm-review have a
    `label`, `proper` or what is wrong, or are the rows of `sluicegate approvals export`.
    """
    from sluicegate.extras import fitting
    from sluicegate.learning.artifact import check_place

    if name == "slm-review":
        _fit_review(data, calibration or [], out, 0.3 if error is None else error, confidence, as_json=as_json)
        return
    if name != "injection":
        raise PolicyError("SG203", f"the guard {name!r} is not fitted", hint="Only injection and slm-review are")
    error = 0.01 if error is None else error
    fitting("scipy")  # missed now rather than after minutes
    from sluicegate.policies.guards.injection.fit import FalsePositiveBound, examples, figures, fit_model
    from sluicegate.policies.guards.injection.model import SHIPPED, read_model, write_model

    check_place(out)
    rows, digests = examples(data)
    start = read_model(SHIPPED)
    model, unseen = fit_model(
        rows, target=FalsePositiveBound(error, confidence), start=start, keep_threshold=keep_threshold
    )
    measured = figures(rows, unseen, model.threshold)
    card = {**model.card, "data": digests, "continues": start.card["hash"], "flagged": measured}
    digest = write_model(out, replace(model, card=card))
    bounds = {name: card[name] for name in ("bound", "long_bound") if name in card}
    result = {"artifact": str(out), "hash": digest, "rows": len(rows), **bounds, "flagged": measured}
    if as_json:
        emit(result)
        return
    from rich.table import Table

    table = Table("rows of", "rows", "flagged, source left out", "source known", box=None)
    for group, one in {**measured["kind"], **measured["source"]}.items():
        table.add_row(group, f"{one['rows']:.0f}", f"{one['flagged']:.1%}", f"{one['source_known']:.1%}")
    console().print(table)
    for name, bound in bounds.items():
        rows_like = "long harmless rows" if name == "long_bound" else "harmless rows"
        console().print(
            f"At most {error:.1%} of {rows_like} like these are flagged, with {confidence:.0%} confidence "
            f"({bound['flagged']} of {bound['rows']} kept apart)."
            if bound
            else "The threshold is the shipped one; nothing is proved about these rows."
        )
    console().print(f"To use it: guards: {{injection: {{model: {out}}}}}", markup=False)


def _fit_review(
    data: list[Path], calibration: list[Path], out: Path, error: float, confidence: float, *, as_json: bool
) -> None:
    import hashlib
    import tempfile

    from sluicegate.cli.router.embedders import LAYERED, ROLE, embedding, only
    from sluicegate.extras import fitting
    from sluicegate.learning.artifact import check_place
    from sluicegate.routing.data import read_rows
    from sluicegate.routing.review.fit import DraftBound, drafts, fit_reviewer

    fitting("sklearn")
    if not calibration:
        raise typer.BadParameter("is required: drafts of other sources than --data", param_hint="--calibration")
    check_place(out)
    train, apart = (drafts([row for path in paths for row in read_rows(path)]) for paths in (data, calibration))
    files = {"train": data, "calibration": calibration}
    digests = {
        part: {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
        for part, paths in files.items()
    }
    embed, embedder = embedding(only(LAYERED), ROLE)
    with tempfile.TemporaryDirectory() as work:
        bound = DraftBound(error, confidence)
        fit = fit_reviewer(train, apart, bound, embed=embed, embedder=embedder, data=digests, work=Path(work), out=out)
        card = asyncio.run(fit)
    threshold, metrics = card["threshold"], card["metrics"]
    if as_json:
        parts = ("hash", "rows", "threshold", "metrics", "baselines")
        emit({"artifact": str(out), **{part: card[part] for part in parts}})
        return
    from rich.table import Table

    table = Table("sees", "AUROC on the drafts kept apart", box=None)
    for name, value in {"the head": metrics["auroc"], **card["baselines"]}.items():
        table.add_row(name, f"{value:.3f}")
    console().print(table)
    console().print(
        f"At most {error:.1%} of improper drafts like these pass, with {confidence:.0%} confidence "
        f"({threshold['improper_passed']} of {threshold['requests']} kept apart); of the proper ones "
        f"{metrics['proper_passed']:.1%} pass."
    )
    console().print(f"To use it: guards: {{slm-review: {{engine: head, artifact: {out}}}}}", markup=False)


@app.command()
def check(
    names: Annotated[str, typer.Argument(help="Comma-separated guard names.")],
    text: Annotated[str, typer.Argument(help="The text; `-` reads standard input.")],
    *,
    stage: Stage = "request",
    source: Annotated[
        list[str] | None, typer.Option(help="Source passage that must support the text (repeatable).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run guards on one text, with default settings."""
    from sluicegate.policies.guards.set import GuardSet, gravest

    given = sys.stdin.read() if text == "-" else text
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    report = asyncio.run(GuardSet().check(chosen, given, stage=_stage(stage), sources=source or []))
    if as_json:
        emit({"action": gravest(report), "redacted": report.redacted, "text": report.text, "results": report.results})
        return
    from rich.table import Table

    table = Table("guard", "result", "reason", "ms", box=None)
    for result in report.results:
        table.add_row(result["guard"], result["action"], result["reason"], f"{result['ms']:.1f}")
    console().print(table)
    if report.redacted:
        console().print(report.text, markup=False)


def _check(name: str, settings: str, *, every_entity: bool) -> tuple[Any, tuple[str, ...]]:
    """The guard, ready to run, and the entity types it covers (for `pii`)."""
    from pydantic import ValidationError

    from sluicegate.models.embedded.weights import pipeline
    from sluicegate.policies.guards.checking import Helpers
    from sluicegate.policies.guards.config import PiiSettings
    from sluicegate.policies.guards.pii.recognizers import PATTERN_ENTITIES
    from sluicegate.policies.guards.registry import guards

    kinds = guards()
    if name not in kinds:
        near = nearest(name, kinds)
        suggestion = f"; did you mean {near!r}?" if near else ""
        raise PolicyError("SG203", f"no guard {name!r}{suggestion}", hint=f"One of: {', '.join(kinds)}")
    kind = kinds[name]
    try:
        chosen = kind.settings.model_validate_json(settings) if settings else kind.settings()
    except ValidationError as error:
        raise PolicyError("SG203", f"invalid --settings for guard {name!r}: {error.errors()[0]['msg']}") from None
    if isinstance(chosen, PiiSettings) and every_entity and "entities" not in chosen.model_fields_set:
        named = ("person", "place", "organization") if chosen.model else ()
        chosen = chosen.model_copy(update={"entities": (*PATTERN_ENTITIES, *named)})
    covered = chosen.entities if isinstance(chosen, PiiSettings) else ()
    return kind.make(chosen, Helpers(pipeline=pipeline)), covered


def _stage(stage: str) -> Literal["request", "retrieved", "output"]:
    match stage:
        case "request" | "retrieved" | "output":
            return stage
        case _:
            raise PolicyError("SG203", f"no stage {stage!r}", hint="One of: request, retrieved, output")


def _show(result: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table("figure", "value", box=None)
    for key, value in result.items():
        if not isinstance(value, (dict, list)):
            table.add_row(key.replace("_", " "), "-" if value is None else str(value))
    console().print(table)
    entities = result.get("entities")
    if not entities:
        return
    by_type = Table("entity type", "labelled", "recall", "precision", "overlap", box=None)
    for name, row in entities.items():
        by_type.add_row(name, *("-" if value is None else str(value) for value in row.values()))
    console().print(by_type)
    console().print("Covered: " + ", ".join(result["covered"]), markup=False)
    if result["not_covered"]:
        console().print("Not covered: " + ", ".join(result["not_covered"]), markup=False)
