"""The fitted artifacts of a workflow's router and guards, and what must be fitted before they can decide."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel

from sluicegate.graphs.conditions.conditions import Condition
from sluicegate.graphs.config.inputs.resolved import ResolvedArtifact
from sluicegate.graphs.config.models import WorkflowConfig
from sluicegate.graphs.config.validate import Faults
from sluicegate.learning.artifact import cards_in
from sluicegate.models.config import resolve
from sluicegate.nodes.kinds.answering import SlmAnswer

__all__ = ["answers_fitted", "check_answerers", "check_fitted", "check_thresholds", "resolve_artifacts"]


STYLES = ("write", "quote")
ANY = "any"


def resolve_artifacts(config: WorkflowConfig, folders: Sequence[Path], faults: Faults) -> dict[str, ResolvedArtifact]:
    """By name, those that nothing has fitted yet included."""
    artifacts: dict[str, ResolvedArtifact] = {}
    named: dict[tuple[str, ...], str | None] = {("router", key): name for key, name in config.router.artifacts.items()}
    named["guards", "injection", "model"] = config.guards.injection.model
    named["guards", "slm-review", "artifact"] = config.guards.slm_review.artifact
    for key, name in named.items():
        if name is None:
            continue
        folder = next((base / name for base in folders if cards_in(base / name)), folders[0] / name)
        try:
            artifacts[name] = ResolvedArtifact.read(folder, within=folders)
        except OSError as error:
            artifacts[name] = ResolvedArtifact(folder, None)
            faults.add("SG101", f"cannot read {folder / 'card.json'}: {error.strerror}", key)
    return artifacts


_FITTED: Mapping[str, tuple[str, str]] = {
    "artifact": ("router", ""),
    "answers": ("answer confidence", " --task answer"),
    "escalation": ("escalation", " --task escalate"),
    "joint": ("joint thresholds", " --task joint"),
}
"""What each artifact is, and the option of `router fit` that fits it."""

_FIELDS: Mapping[str, tuple[str, str, str]] = {
    "answer.threshold": ("answers", "graded answers", "compare answer.confidence with a number"),
    "answer.answerability": ("answers", "graded answers", "compare answer.confidence with a number"),
    "router.needs_large": ("escalation", "logs of both models", "do without it"),
    "router.escalation_threshold": ("escalation", "logs of both models", "do without it"),
}
"""Fields that only a fitted artifact gives: its key, what it is fitted to, and what to do without one."""


def check_fitted(config: WorkflowConfig, artifacts: Mapping[str, ResolvedArtifact], faults: Faults) -> None:
    for key, name in config.router.artifacts.items():
        # label decoding needs no artifact
        idle = key == "artifact" and config.router.strategy == "slm"
        if idle or artifacts[name].hash is not None or faults.touches(("router", key)):
            continue
        kind, option = _FITTED[key]
        hint = f"Fit it: sluicegate router fit {faults.source.path}{option}"
        faults.add("SG310", f"no {kind} artifact {name!r} yet", ("router", key), hint=hint, severity="warning")
    guards = config.guards
    unreadable = {problem.place for problem in faults.problems if problem.severity == "error"}
    for guard, field, name in (
        ("injection", "model", guards.injection.model),
        ("slm-review", "artifact", guards.slm_review.artifact),
    ):
        key = ("guards", guard, field)
        if name is not None and artifacts[name].hash is None and faults.source.place(key) not in unreadable:
            hint = f"Fit it: sluicegate guard fit {guard} --data FILE --out {artifacts[name].folder}"
            faults.add("SG310", f"no {guard} {field} {name!r} yet", key, hint=hint)


def check_thresholds(config: WorkflowConfig, conditions: Mapping[str, Condition], faults: Faults) -> None:
    """A field without a fitted artifact would send every request or answer to the same branch."""
    named = config.router.artifacts
    for name, node in config.nodes.items():
        for position, branch in enumerate(node.branches):
            found = conditions.get(branch.when) if branch.when is not None else None
            for field in sorted(_FIELDS.keys() & set(found.fields if found else ())):
                key, fitted_to, otherwise = _FIELDS[field]
                # thresholds that were chosen together need no fitted confidence: any score will do
                given = key in named or (field == "answer.threshold" and "joint" in named)
                if not given:
                    faults.add(
                        "SG310",
                        f"{field} is fitted to {fitted_to}, but the workflow names no artifact for it",
                        ("nodes", name, "then", position, "when"),
                        hint=f"Name one under `router: {{{key}: …}}`, or {otherwise}",
                    )


def answers_fitted(
    config: WorkflowConfig, settings: Mapping[str, BaseModel], folder: Path
) -> dict[str, dict[tuple[str, str], bool]]:
    """For each node of the small model's answers: whether `folder` has a fit for each of its models and styles.

    Raises `OSError`, or `ValueError` for a card that is no JSON.
    """
    fitted: set[tuple[str, str]] = set()
    for path in cards_in(folder):
        card = json.loads(path.read_text(encoding="utf-8"))
        # an earlier release's names no style and serves both
        styles = (card["style"],) if "style" in card else STYLES
        fitted |= {(model, style) for model in card["models"] for style in styles}
    return {
        name: {
            (model, style): bool(fitted & {(model, style), (ANY, style)})
            for model in dict.fromkeys(one.use for _, one in resolve(config.models, own.model))
            for style in (STYLES if own.style == "auto" else (own.style,))
        }
        for name, own in settings.items()
        if type(own) is SlmAnswer and own.model in config.models
    }


def check_answerers(
    config: WorkflowConfig,
    settings: Mapping[str, BaseModel],
    conditions: Mapping[str, Condition],
    artifacts: Mapping[str, ResolvedArtifact],
    faults: Faults,
) -> None:
    """A node none of whose models has a fit in its style: no answer of it ever reaches the threshold."""
    named = config.router.answers
    read = any("answer.threshold" in condition.fields for condition in conditions.values())
    if named is None or artifacts[named].hash is None or not read:
        return
    try:
        nodes = answers_fitted(config, settings, artifacts[named].folder)
    except (OSError, ValueError, LookupError, TypeError):
        return  # opening it says what is wrong with the card
    for name, fits in nodes.items():
        if not any(fits.values()):
            asked = ", ".join(f"{model} in style {style!r}" for model, style in fits)
            faults.add(
                "SG310",
                f"no confidence was fitted to answers of {asked}: all of them stay below answer.threshold",
                ("nodes", name),
                of_key=True,
                hint=f"Fit it: sluicegate router fit {faults.source.path} --task answer",
                severity="warning",
            )
