"""The cards of the fitted artifacts that a workflow's router decides with."""

from typing import Any

from sluicegate.graphs.config.inputs.resolved import Resolved
from sluicegate.graphs.config.models import WorkflowConfig
from sluicegate.learning.artifact import cards_in, read_card

__all__ = ["router_cards"]


def router_cards(config: WorkflowConfig, resolved: Resolved) -> list[dict[str, Any]]:
    """Of the intents, the answers of each model, the escalation and the joint thresholds, those that were fitted.

    Raises `ModelError` SG311 for one that was edited or damaged.
    """
    folders = [resolved.artifacts[name].folder for name in config.router.artifacts.values()]
    return [read_card(card.parent) for folder in folders for card in cards_in(folder)]
