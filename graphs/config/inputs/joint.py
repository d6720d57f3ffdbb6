"""Whether thresholds that were chosen together were fitted to this workflow: they hold for nothing else."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from sluicegate.graphs.config.inputs.resolved import Resolved
from sluicegate.graphs.config.models import WorkflowConfig
from sluicegate.graphs.config.validate import Faults
from sluicegate.learning.artifact import CARD, read_card

__all__ = ["check_joint", "fitted_to", "joint_card", "misfit"]


def joint_card(config: WorkflowConfig, resolved: Resolved) -> dict[str, Any] | None:
    """The card of the thresholds that the workflow names; None where it names none, or nothing was fitted yet.

    Raises `ModelError` SG311, SG312 as `read_card` does.
    """
    joint = config.router.joint
    if joint is None or resolved.artifacts[joint.artifact].hash is None:
        return None
    return read_card(resolved.artifact(joint.artifact), task="joint")


def fitted_to(config: WorkflowConfig, settings: Mapping[str, BaseModel], resolved: Resolved) -> dict[str, str]:
    """A digest of each part of a workflow that says what its thresholds send, by what people call it.

    The knowledge is not among them: documents change daily, and drift shows what comes of it.
    """
    packed = resolved.packed()
    chosen = config.router.artifacts.get("joint")
    router = config.router.model_dump(mode="json", exclude={"joint"})
    parts: dict[str, Any] = {
        "branches": [
            config.start,
            {name: node.model_dump(mode="json", by_alias=True) for name, node in config.nodes.items()},
        ],
        "settings": {name: one.model_dump(mode="json", by_alias=True) for name, one in settings.items()},
        "intents": {name: intent.model_dump(mode="json") for name, intent in config.intents.items()},
        "models": [
            {name: model.model_dump(mode="json") for name, model in config.models.items()},
            packed.get("models"),
        ],
        "prompts": packed["prompts"],
        "policies": packed["policies"],
        "guards": config.guards.model_dump(mode="json"),
        "artifacts": [router, {name: one.hash for name, one in resolved.artifacts.items() if name != chosen}],
    }
    return {name: _digest(part) for name, part in parts.items()}


def misfit(
    config: WorkflowConfig, settings: Mapping[str, BaseModel], resolved: Resolved, card: Mapping[str, Any]
) -> str:
    """What the thresholds of `card` were fitted to that the workflow does not have; empty when they are its own."""
    joint = config.router.joint
    assert joint is not None
    if (card["error"], card["confidence"]) != (joint.error, joint.confidence):
        return f"a bound of {card['error']:.0%} at {card['confidence']:.0%} confidence"
    now = fitted_to(config, settings, resolved)
    other = [name for name, digest in card["fitted_to"].items() if now.get(name) != digest]
    return f"other {', '.join(other)}" if other else ""


def check_joint(config: WorkflowConfig, settings: Mapping[str, BaseModel], resolved: Resolved, faults: Faults) -> None:
    """Warns of thresholds that were fitted to something else: then `on_drift` says what serves."""
    joint = config.router.joint
    if joint is None or resolved.artifacts[joint.artifact].hash is None:
        return
    try:
        card = json.loads((resolved.artifact(joint.artifact) / CARD).read_text(encoding="utf-8"))
        found = misfit(config, settings, resolved, card)
    except (OSError, ValueError, LookupError, TypeError):
        return  # opening it says what is wrong with the card
    if found:
        faults.add(
            "SG312",
            f"joint thresholds {joint.artifact!r} were fitted to {found}: {joint.on_drift} thresholds serve instead",
            ("router", "joint"),
            hint=f"Fit them again: sluicegate router fit {faults.source.path} --task joint",
            severity="warning",
        )


def _digest(part: object) -> str:
    canonical = json.dumps(part, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
