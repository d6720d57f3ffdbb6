"""A router of its own for when the large model is needed: fitted, and evaluated."""

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluicegate.cli._support.console import counted, emit
from sluicegate.cli.router.embedders import LAYERED, ROLE, embed_like, embedding, models_of, only
from sluicegate.cli.router.tables import pairs
from sluicegate.errors import ConfigError, InsufficientDataError, Problem

if TYPE_CHECKING:
    from sluicegate.graphs.config.load import Workflow
    from sluicegate.models.chain import ModelSet
    from sluicegate.routing.config import EscalationTarget
    from sluicegate.routing.data import Escalations
    from sluicegate.routing.escalation.escalate import EscalationRouter

__all__ = [
    "explain_escalation",
    "fit_escalation_files",
    "fit_workflow_escalation",
    "refit_escalation",
    "report_on",
]


def fit_workflow_escalation(path: Path, out: Path | None, *, as_json: bool) -> None:
    """Fit on the workflow's `examples.escalation`, with its embedder and its target."""
    from sluicegate.graphs.config.load import load

    workflow = load(path)
    router = workflow.config.router
    folder = out or (workflow.folder / router.escalation if router.escalation else None)
    if folder is None:
        what = f"{path} names no `router: {{escalation: …}}`"
        raise ConfigError([Problem("SG106", what, hint="Name a folder there, or give --out")])
    _show(folder, _fit(_examples(workflow), folder, *_embedder_of(workflow), router.escalation_target), as_json=as_json)


def fit_escalation_files(source: Sequence[Path], out: Path, embedder: str | None, *, as_json: bool) -> None:
    """Fit on files of requests with what both models made of them; `embedder` is a model, or none."""
    from sluicegate.routing.config import EscalationTarget

    name = embedder or LAYERED
    models = None if name == "none" else only(name)
    result = _fit(_rows(source), out, models, ROLE, EscalationTarget(recover=0.8))
    _show(out, result, as_json=as_json)


def report_on(artifact: Path, data: Sequence[Path]) -> dict[str, Any]:
    """What the router in `artifact` would have cost and reached on such files."""
    from sluicegate.routing.escalation.report import report_escalation

    router, rows = fitted_escalation(artifact), _rows(data)
    with counted(len(rows)) as on_progress:
        return asyncio.run(report_escalation(router, rows, on_progress=on_progress))


def explain_escalation(text: str, artifact: Path) -> dict[str, Any]:
    """Whether a request needs the large model, with the features that say so."""
    router = fitted_escalation(artifact)

    async def explained() -> dict[str, Any]:
        found = await router.decide(text)
        evidence = await router.evidence(text)
        return {
            "needs_large": found.needs_large,
            "threshold": found.threshold,
            "escalated": found.needs_large >= found.threshold,
            "evidence": [{"view": e.view, "feature": e.feature, "weight": e.weight} for e in evidence],
            "artifact": found.artifact,
        }

    return asyncio.run(explained())


def fitted_escalation(artifact: Path, target: "EscalationTarget | None" = None) -> "EscalationRouter":
    """The escalation in `artifact`, with the embedder that its card names."""
    from sluicegate.routing.escalation.escalate import load_escalation

    return load_escalation(artifact, embed_like=embed_like, target=target)


def refit_escalation(workflow: "Workflow", rows: Sequence[dict[str, Any]], out: Path, since: str) -> dict[str, Any]:
    """A new artifact with what people said of recorded runs (scores ``needed_large``), compared with the one in use.

    Compared on the examples alone, by scores from fits that did not see them: for the old, those of its own fit.
    """
    from sluicegate.learning.artifact import read_card
    from sluicegate.routing.data import Escalations

    router = workflow.config.router
    old = read_card(workflow.find(router.escalation or ""), task="escalate")
    told = {row["text"]: row["needed"] for row in rows if row["text"]}
    if not told:
        raise InsufficientDataError(
            f"no usable verdicts for {workflow.name} since {since}",
            hint="Verdicts are `needed_large` scores (true or false) given by approvers and users",
        )
    examples = _examples(workflow)
    digest = hashlib.sha256(repr(sorted(told.items())).encode("utf-8", "surrogatepass")).hexdigest()
    kept = [at for at, prompt in enumerate(examples.prompts) if prompt not in told]
    joined = Escalations(
        [examples.prompts[at] for at in kept] + list(told),
        # needed: only the large model was right; not needed: both were
        [examples.weak[at] for at in kept] + [not needed for needed in told.values()],
        [examples.strong[at] for at in kept] + [True] * len(told),
        {**examples.digests, "verdicts": digest},
    )
    fitted = _fit(joined, out, *_embedder_of(workflow), router.escalation_target)
    return {
        "verdicts": len(told),
        "rows": len(joined),
        **{f"{name}_before": old["metrics"][name] for name in ("apgr", "cpt50", "ece")},
        **{f"{name}_after": fitted[name] for name in ("apgr", "cpt50", "ece")},
        "artifact": str(out),
        "hash": fitted["hash"],
    }


def _examples(workflow: "Workflow") -> "Escalations":
    named = workflow.config.examples.escalation
    if named is None:
        raise InsufficientDataError(
            f"{workflow.name} names no logged requests to fit its escalation on",
            hint="Add `examples: {escalation: examples/escalation.jsonl}`; `sluicegate router grade --task escalate` "
            "writes such a file",
        )
    return _rows([workflow.find(named)])


def _rows(source: Sequence[Path]) -> "Escalations":
    from sluicegate.routing.data import joined_escalations, read_escalations

    return joined_escalations([read_escalations(path) for path in source])


def _embedder_of(workflow: "Workflow") -> "tuple[ModelSet | None, str]":
    router = workflow.config.router
    return (models_of(workflow) if router.embeddings else None), router.embedder


def _fit(
    rows: "Escalations", out: Path, models: "ModelSet | None", role: str, target: "EscalationTarget"
) -> dict[str, Any]:
    from sluicegate.learning.artifact import check_place
    from sluicegate.routing.escalation.escalate import threshold_for
    from sluicegate.routing.escalation.fit import fit_escalation, write_escalation

    check_place(out)
    with counted(None) as on_progress:
        embed, facts = embedding(models, role) if models else (None, None)
        fitted = asyncio.run(fit_escalation(rows, embed=embed, embedder=facts, target=target, on_progress=on_progress))
    digest = write_escalation(out, fitted)
    threshold = threshold_for(fitted.card, target)
    return {"artifact": str(out), "hash": digest, **fitted.card["metrics"], "threshold": threshold}


def _show(out: Path, result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit(result)
    else:
        pairs(str(out), result)
