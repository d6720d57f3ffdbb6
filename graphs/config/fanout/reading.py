"""What each node reads, by its kind and by what its config, its list and its prompt refer to."""

from collections.abc import Mapping

from pydantic import BaseModel

from sluicegate.graphs.conditions.conditions import Condition
from sluicegate.graphs.conditions.fields import fields
from sluicegate.graphs.config.inputs.resolved import ResolvedPrompt
from sluicegate.nodes.kind import GIVEN, NodeKind
from sluicegate.nodes.kinds.control.for_each import ForEach
from sluicegate.nodes.prompts import placeholders
from sluicegate.state import MERGED

__all__ = ["reads_by_node"]

_RESULTS = ("items", "failed_items")


def reads_by_node(
    settings: Mapping[str, BaseModel],
    kinds: Mapping[str, NodeKind],
    prompts: Mapping[str, ResolvedPrompt],
    over: Mapping[str, Condition],
) -> dict[str, frozenset[str] | None]:
    """The state keys that each node reads besides those of its conditions; None for all."""
    found: dict[str, frozenset[str] | None] = {}
    for name, own in settings.items():
        reads = kinds[name].reads_of(own)
        text = own.ask or "" if isinstance(own, ForEach) else _prompt(own, prompts)
        if isinstance(own, ForEach):
            reads = GIVEN | MERGED | {fields()[field].key for field in over[name].fields}
        groups = {placeholder.partition(".")[0] for placeholder, _ in placeholders(text)}
        found[name] = None if reads is None else reads | groups.intersection(_RESULTS)
    return found


def _prompt(own: BaseModel, prompts: Mapping[str, ResolvedPrompt]) -> str:
    prompt = prompts.get(getattr(own, "prompt", None) or "")
    return prompt.content.decode(errors="replace") if prompt else ""
