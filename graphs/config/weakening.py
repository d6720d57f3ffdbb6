"""What one version of a workflow promises less than another: an overlay than its base, a challenger than its champion.

Compared is what a config states: guarantees and waivers, the risk of intents, people, policy checks and the checks of
drafts, their guards, and who decides. Whether other branches lead round a check is for the guarantees to say.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

from sluicegate.graphs.config.models import GuaranteeConfig, NodeConfig, WorkflowConfig
from sluicegate.graphs.config.source import Pointer
from sluicegate.state import GuardAction, Risk

__all__ = ["Weakening", "weakened"]

_STANDING = ("human-interrupt", "policy-check", "output-check")
_RISKS: tuple[str, ...] = get_args(Risk)
_ACTIONS: tuple[str, ...] = get_args(GuardAction)


@dataclass(frozen=True, slots=True)
class Weakening:
    what: str
    """In words; a plan that allows it repeats them."""
    at: Pointer
    """Where the weaker version says so, as far as it does."""


def weakened(base: WorkflowConfig, variant: WorkflowConfig) -> list[Weakening]:
    """Each thing that `variant` promises less than `base`, in the order of the config."""
    return [
        *_intents(base, variant),
        *_guards("guards", ("guards",), _plain(base.guards), _plain(variant.guards)),
        *(each for name, node in base.nodes.items() for each in _node(name, node, variant.nodes.get(name))),
        *(
            Weakening(f"the guarantee `{_said(one)}` is dropped", ("guarantees",))
            for one in base.guarantees
            if one not in variant.guarantees
        ),
        *(
            Weakening(f"the built-in guarantee `{one.guarantee}` is waived", ("waive", position))
            for position, one in enumerate(variant.waive)
            if one.guarantee not in {other.guarantee for other in base.waive}
        ),
    ]


def _intents(base: WorkflowConfig, variant: WorkflowConfig) -> Iterable[Weakening]:
    for label, before in base.intents.items():
        after = variant.intents.get(label)
        if after and _RISKS.index(after.risk) < _RISKS.index(before.risk):
            what = f"the risk of the intent `{label}` is {after.risk}, not {before.risk}"
            yield Weakening(what, ("intents", label, "risk"))


def _node(name: str, before: NodeConfig, after: NodeConfig | None) -> Iterable[Weakening]:
    if before.kind not in _STANDING:
        return
    if after is None or after.kind != before.kind:
        yield Weakening(f"the {before.kind} node `{name}` is removed", ("nodes", name))
        return
    had, has = before.given, after.given
    for guard in [guard for guard in had.get("guards") or () if guard not in (has.get("guards") or ())]:
        yield Weakening(f"the node `{name}` does not run the guard `{guard}`", ("nodes", name, "guards"))
    if had.get("four_eyes", True) and not has.get("four_eyes", True):
        yield Weakening(f"the requester may decide at the node `{name}`", ("nodes", name, "four_eyes"))
    for key in ("approvers", "escalate_to"):
        if has.get(key) and has.get(key) != had.get(key):
            what = f"`{key}` of the node `{name}` is {has[key]}, not {had.get(key) or 'anybody'}"
            yield Weakening(what, ("nodes", name, key))


def _guards(what: str, at: Pointer, before: Any, after: Any) -> Iterable[Weakening]:
    """Every `action` that is milder, wherever it stands in a guard's settings."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return
    old, new = cast("dict[str, Any]", before), cast("dict[str, Any]", after)
    for key in [key for key in old if key in new]:
        had, has = old[key], new[key]
        if key == "action" and had in _ACTIONS and has in _ACTIONS:
            if _ACTIONS.index(has) < _ACTIONS.index(had):
                yield Weakening(f"`action` of `{what}` is {has}, not {had}", (*at, key))
        else:
            yield from _guards(f"{what}.{key}", (*at, key), had, has)


def _plain(model: Any) -> Mapping[str, Any]:
    return json.loads(model.model_dump_json())


def _said(guarantee: GuaranteeConfig) -> str:
    parts: dict[str, str | list[str]] = guarantee.model_dump(mode="json", exclude_defaults=True)
    words = {key: value if isinstance(value, str) else " or ".join(value) for key, value in parts.items()}
    return ", ".join(f"{key}: {value}" for key, value in words.items())
