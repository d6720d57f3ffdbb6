"""The fitted artifacts of a workflow's router, and what must be fitted before it can decide."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sluicegate.graphs.conditions.conditions import Condition
from sluicegate.graphs.config.inputs.resolved import ResolvedArtifact
from sluicegate.graphs.config.models import WorkflowConfig
from sluicegate.graphs.config.references import first_existing
from sluicegate.graphs.config.validate import Faults

__all__ = ["check_fitted", "check_thresholds", "resolve_artifacts"]


def resolve_artifacts(config: WorkflowConfig, folders: Sequence[Path], faults: Faults) -> dict[str, ResolvedArtifact]:
    """By name, those that nothing has fitted yet included."""
    artifacts: dict[str, ResolvedArtifact] = {}
    for key in ("artifact", "answers"):
        name: str | None = getattr(config.router, key)
        if name is None:
            continue
        card = first_existing(folders, f"{name}/card.json")
        folder = card.parent if card else folders[0] / name
        try:
            artifacts[name] = ResolvedArtifact.read(folder, within=folders)
        except OSError as error:
            artifacts[name] = ResolvedArtifact(folder, None)
            faults.add("SG101", f"cannot read {folder / 'card.json'}: {error.strerror}", ("router", key))
    return artifacts


def check_fitted(config: WorkflowConfig, artifacts: Mapping[str, ResolvedArtifact], faults: Faults) -> None:
    unfitted = {
        key for key, name in (("artifact", config.router.artifact), ("answers", config.router.answers))
        if name is not None and artifacts[name].hash is None and not faults.touches(("router", key))
    }  # fmt: skip
    artifact, answers = config.router.artifacts
    if config.router.strategy != "slm" and "artifact" in unfitted:
        hint = f"Fit it: sluicegate router fit {faults.source.path}"
        what = f"no router artifact {artifact!r} yet"
        faults.add("SG310", what, ("router", "artifact"), hint=hint, severity="warning")
    if "answers" in unfitted:
        hint = f"Fit it: sluicegate router fit {faults.source.path} --task answer"
        what = f"no answer confidence artifact {answers!r} yet"
        faults.add("SG310", what, ("router", "answers"), hint=hint, severity="warning")


def check_thresholds(config: WorkflowConfig, conditions: Mapping[str, Condition], faults: Faults) -> None:
    """A field without a fitted artifact would send every answer to the same branch."""
    if config.router.answers is not None:
        return
    for name, node in config.nodes.items():
        for position, branch in enumerate(node.branches):
            found = conditions.get(branch.when) if branch.when is not None else None
            for field in sorted({"answer.threshold", "answer.answerability"} & set(found.fields if found else ())):
                faults.add(
                    "SG310",
                    f"{field} is fitted to graded answers, but the workflow names no artifact for it",
                    ("nodes", name, "then", position, "when"),
                    hint="Name one under `router: {answers: …}`, or compare answer.confidence with a number",
                )
