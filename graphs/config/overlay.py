"""`extends`: one source merged over another, keeping the places of both; and what the result promises less.

Compared is what a config states: guarantees and waivers, the risk of intents, people, policy checks and the checks of
drafts, their guards, and who decides. Whether other branches lead round a check is for the guarantees to say. A
challenger is compared with its champion in the same way.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

from sluicegate.graphs.config.models import GuaranteeConfig, NodeConfig, WorkflowConfig
from sluicegate.graphs.config.source import Pointer, Source, SourceEntry
from sluicegate.nodes.registry import kinds
from sluicegate.policies.guards.set import GRAVITY
from sluicegate.state import Risk

__all__ = ["Weakening", "overlay", "weakened"]


def overlay(top: Source, base: Source) -> Source:
    """`top` merged over `base`: maps merge by key, everything else replaces, null removes.

    Places point to the file that a value came from. Problems of both are kept, the base's first.
    """
    entries: dict[Pointer, SourceEntry] = {}
    data = _merge(top.data, base.data, (), top, base, entries)
    problems = (*base.problems, *top.problems)
    contents = {**base.contents, **top.contents}
    return Source(top.path, data, entries, problems, (*top.files, *base.files), contents, base)


def _merge(
    over: Any, under: Any, pointer: Pointer, top: Source, base: Source, entries: dict[Pointer, SourceEntry]
) -> Any:
    if not (isinstance(over, dict) and isinstance(under, dict)):
        _carry(over, pointer, top, entries)
        return cast("Any", over)
    above, below = cast("dict[str, Any]", over), cast("dict[str, Any]", under)
    if pointer in top.entries:
        entries[pointer] = top.entries[pointer]
    merged: dict[str, Any] = {}
    for key, value in below.items():
        step = (*pointer, key)
        if key not in above:
            _carry(value, step, base, entries)
            merged[key] = value
        elif above[key] is not None:
            merged[key] = _merge(above[key], value, step, top, base, entries)
    for key, value in above.items():
        if key not in below:
            _carry(value, (*pointer, key), top, entries)
            merged[key] = value
    return merged


def _carry(value: Any, pointer: Pointer, source: Source, entries: dict[Pointer, SourceEntry]) -> None:
    """Copy the places of a value and all that is in it."""
    if pointer in source.entries:
        entries[pointer] = source.entries[pointer]
    if isinstance(value, dict):
        for key, part in cast("dict[str, Any]", value).items():
            _carry(part, (*pointer, key), source, entries)
    elif isinstance(value, list):
        for position, part in enumerate(cast("list[Any]", value)):
            _carry(part, (*pointer, position), source, entries)


_STANDING = frozenset({"asks-human", "decides-policy", "checks"})
_NOBODY = "nobody"
_DECIDING = {"action": "ask", "approvers": _NOBODY, "escalate_to": _NOBODY}
"""Settings that say who decides, or what, with their defaults."""
_RISKS: tuple[str, ...] = get_args(Risk)


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
        if after is None and before.risk != _RISKS[0]:
            # its requests are classified as something else then
            yield Weakening(f"the intent `{label}` of {before.risk} risk is removed", ("intents",))
        if after and _RISKS.index(after.risk) < _RISKS.index(before.risk):
            what = f"the risk of the intent `{label}` is {after.risk}, not {before.risk}"
            yield Weakening(what, ("intents", label, "risk"))


def _node(name: str, before: NodeConfig, after: NodeConfig | None) -> Iterable[Weakening]:
    if before.kind not in kinds() or not kinds()[before.kind].effects & _STANDING:
        return
    if after is None or after.kind != before.kind:
        yield Weakening(f"the {before.kind} node `{name}` is removed", ("nodes", name))
        return
    had, has = before.given, after.given
    for guard in [guard for guard in had.get("guards") or () if guard not in (has.get("guards") or ())]:
        yield Weakening(f"the node `{name}` does not run the guard `{guard}`", ("nodes", name, "guards"))
    if had.get("four_eyes", True) and not has.get("four_eyes", True):
        yield Weakening(f"the requester may decide at the node `{name}`", ("nodes", name, "four_eyes"))
    for key, default in _DECIDING.items():
        earlier, now = had.get(key, default), has.get(key, default)
        if now not in (earlier, _NOBODY):
            what = f"`{key}` of the node `{name}` is {now}, not {earlier}"
            yield Weakening(what, ("nodes", name, key))


def _guards(what: str, at: Pointer, before: Any, after: Any) -> Iterable[Weakening]:
    """Every `action` that is milder, wherever it stands in a guard's settings."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return
    old, new = cast("dict[str, Any]", before), cast("dict[str, Any]", after)
    for key in [key for key in old if key in new]:
        had, has = old[key], new[key]
        if key == "action" and had in GRAVITY and has in GRAVITY:
            if GRAVITY.index(has) < GRAVITY.index(had):
                yield Weakening(f"`action` of `{what}` is {has}, not {had}", (*at, key))
        else:
            yield from _guards(f"{what}.{key}", (*at, key), had, has)


def _plain(model: Any) -> Mapping[str, Any]:
    return json.loads(model.model_dump_json())


def _said(guarantee: GuaranteeConfig) -> str:
    parts: dict[str, str | list[str]] = guarantee.model_dump(mode="json", exclude_defaults=True)
    words = {key: value if isinstance(value, str) else " or ".join(value) for key, value in parts.items()}
    return ", ".join(f"{key}: {value}" for key, value in words.items())
