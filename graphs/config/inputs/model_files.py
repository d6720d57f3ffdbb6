"""The GGUF files that a workflow's roles name: part of what can change a decision."""

from sluicegate.graphs.config.inputs.resolved import ResolvedModelFile
from sluicegate.graphs.config.models import WorkflowConfig
from sluicegate.graphs.config.source import Pointer
from sluicegate.graphs.config.validate import Faults
from sluicegate.models.config import resolve, unresolved

__all__ = ["resolve_model_files"]


def resolve_model_files(config: WorkflowConfig, faults: Faults) -> dict[str, ResolvedModelFile]:
    """By the model's name. An absent file is a warning: the role's next model answers."""
    found: dict[str, ResolvedModelFile] = {}
    if unresolved(config.models):
        return found  # reported already
    for role in config.models:
        for name, model in resolve(config.models, role):
            if model.file is None or name in found:
                continue
            key = "use" if config.models[role].use == name else "otherwise"
            at: Pointer = ("models", role, key)
            try:
                found[name] = ResolvedModelFile.read(model.file)
            except OSError as error:
                found[name] = ResolvedModelFile(model.file, None)
                faults.add("SG101", f"cannot read {model.file}: {error.strerror}", at)
                continue
            if found[name].hash is None:
                hint = "Put the model there; until then the role's next model answers"
                faults.add("SG306", f"no file {model.file}", at, hint=hint, severity="warning")
    return found
