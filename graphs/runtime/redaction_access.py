"""Restores placeholders for people who may see the original values, and removes those from a run's history.

What a placeholder stands for is in the vault and nowhere else. It is revealed to one reader at a time: the policies
decide on the action ``see_redacted`` for each kind of data and its origin, and the audit log has the event before the
text is shown. Without a record nothing is restored.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from sluicegate.errors import RunError
from sluicegate.policies.guards.redaction import conceal, placeholders_in, restore
from sluicegate.services import Hidden, Services, Vault
from sluicegate.state import Principal, State

__all__ = ["concealing", "revealed"]

_WORDS = frozenset(
    {
        "text",
        "draft",
        "reason",
        "arguments",
        "fields",
        "proposal",
        "question",
        "standalone",
        "result",
        "extra",
        "elements",
        "value",
    }
)
"""Keys whose values were written by people or models, at any depth."""

T = TypeVar("T")


async def revealed(value: T, state: State, reader: Principal, services: Services, vault: Vault) -> T:
    """Plain data, its texts as `reader` may see them. A placeholder that this run has not issued stays as it is."""
    run, audit = state["run"], services.audit
    wanted = placeholders_in(json.dumps(value, ensure_ascii=False))
    if not wanted or audit is None:
        # what has no effects, such as a shadow, has no readers
        return value
    issued = await vault.hidden(run["id"])
    hidden = {name: one for name, one in issued.items() if name in wanted and not one.credential}
    rules = _allowed(hidden, state, reader, services)
    shown = {name: one.value for name, one in hidden.items() if (one.kind, one.stage) in rules}
    if not shown:
        return value
    deciding = sorted({rule for one in rules.values() for rule in one})
    try:
        await audit.revealed(state, reader=reader["id"], placeholders=sorted(shown), rules=deciding)
    except RunError:
        return value
    return _texts(value, lambda text, _words: restore(text, shown))


def concealing(hidden: Mapping[str, Hidden]) -> Callable[[T], T]:
    """A function that replaces redacted values in a run's plain data by their placeholders."""
    mapping = {placeholder: one.value for placeholder, one in hidden.items()}
    return lambda value: _texts(value, lambda text, words: conceal(text, mapping) if words else text)


def _allowed(
    hidden: Mapping[str, Hidden], state: State, reader: Principal, services: Services
) -> dict[tuple[str, str], tuple[str, ...]]:
    """Kinds and stages that the policies let `reader` see, with the rules that decided."""
    run, intent = state["run"], state.get("intent")
    resource = {"type": "Run", "id": run["id"], "requester": state["principal"]["id"]}
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for kind, stage in dict.fromkeys((one.kind, one.stage) for one in hidden.values()):
        context = {
            "intent": intent["label"] if intent else "",
            "risk": intent["risk"] if intent else "high",
            "kind": kind,
            "stage": stage,
        }
        decision = services.policy.decide(reader, "see_redacted", resource, context)
        if decision.allowed:
            found[kind, stage] = decision.rules
    return found


def _texts(value: Any, change: Callable[[str, bool], str], *, words: bool = False) -> Any:
    """Plain data with `change` applied to every text; it is told whether people or models wrote the text."""
    if isinstance(value, str):
        return change(value, words)
    if isinstance(value, Mapping):
        held = cast("Mapping[str, Any]", value)
        return {key: _texts(part, change, words=words or _has_words(key)) for key, part in held.items()}
    if isinstance(value, list | tuple):
        parts = [_texts(part, change, words=words) for part in cast("Sequence[Any]", value)]
        return parts if isinstance(value, list) else tuple(parts)
    return value


def _has_words(key: Any) -> bool:
    return isinstance(key, str) and (key in _WORDS or key.endswith((".text", ".value")))
