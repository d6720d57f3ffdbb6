"""A run's annotations on its workflow's picture: a note in each visited node, the values beside each branch taken."""

from collections.abc import Callable, Mapping
from typing import Any

from sluicegate.run_summary import compared
from sluicegate.state import State

__all__ = ["branch_values", "node_notes", "short"]

_LONGEST = 44


def node_notes(state: State, effects: Mapping[str, frozenset[str]]) -> dict[str, str]:
    """A few words per visited node, from what it wrote; the last visit counts."""
    found: dict[str, str] = {}
    for entry in state.get("trail", []):
        said = [say(state, entry["node"]) for effect, say in _SAYS.items() if effect in effects.get(entry["node"], ())]
        text = next((words for words in said if words), "")
        if entry["kind"] == "extract" and (extraction := state.get("extraction")):
            text = "complete" if extraction["complete"] else f"missing {', '.join(extraction['missing'])}"
        if text:
            found[entry["node"]] = text if len(text) <= 40 else text[:39] + "…"
    return found


def branch_values(state: State) -> dict[tuple[str, str], str]:
    """The values read by the conditions of each branch taken, abbreviated; an unconditional edge out of `classify`
    shows the labels' probabilities."""
    found: dict[tuple[str, str], str] = {}
    for entry in state.get("trail", []):
        branch, intent = entry["branch"], state.get("intent")
        values = {name: value for name, value in branch["values"].items() if name in branch["condition"]}
        values = values or branch["values"]
        text = " ".join(f"{name.rpartition('.')[2]}={short(value)}" for name, value in values.items())
        if entry["kind"] == "classify" and not values and intent:
            text = " ".join(f"{one['label']} {one['confidence']:.2f}" for one in intent["alternatives"][:2])
        elif {"intent.confidence", "router.threshold"} <= set(values):
            text = f"confidence {compared(values['intent.confidence'], values['router.threshold'])}"
        if text and branch["to"]:
            found[entry["node"], branch["to"]] = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return found


def short(value: Any) -> str:
    """A value, abbreviated."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, float):
        return f"{value:.4g}" if 0 < abs(value) < 0.01 else f"{value:.2f}"
    return str(value)


def _classified(state: State, node: str) -> str:
    del node
    intent = state.get("intent")
    return f"{intent['label']} {intent['confidence']:.2f}" if intent else ""


def _tagged(state: State, node: str) -> str:
    del node
    tags = state.get("tags")
    if not tags:
        return ""
    if not tags["scores"]:
        return "not looked for"
    return ", ".join(f"{tag} {tags['scores'][tag]:.2f}" for tag in tags["found"]) or "no tag"


def _decided(state: State, node: str) -> str:
    del node
    policy = state.get("policy")
    return f"{policy['verdict']} by {', '.join(policy['rules']) or 'no rule'}" if policy else ""


def _retrieved(state: State, node: str) -> str:
    del node
    documents = state.get("documents", [])
    best = f", best {documents[0]['score']:.2f}" if documents else ""
    return f"{len(documents)} passage{'' if len(documents) == 1 else 's'}{best}"


def _wrote(state: State, node: str) -> str:
    answer = state.get("answer")
    if not answer or answer["by"] != node:
        return ""
    return f"{answer['model'].partition(':')[2]} {answer['confidence']:.2f}"


def _checked(state: State, node: str) -> str:
    del node
    checks = state.get("checks")
    if not checks:
        return ""
    return f"failed: {', '.join(checks['failures'])}" if checks["failed"] else f"{len(checks['results'])} passed"


def _asked(state: State, node: str) -> str:
    del node
    approval = state.get("approval")
    return f"{approval['verdict']} by {approval['by'] or 'the clock'}" if approval else ""


def _looked_up(state: State, node: str) -> str:
    del node
    cache = state.get("cache")
    return ("hit" if cache["hit"] else "miss") if cache else ""


def _called(state: State, node: str) -> str:
    del node
    calls = state.get("tool_calls", [])
    return f"{calls[-1]['tool']}: {calls[-1]['status']}" if calls else ""


def _ended(state: State, node: str) -> str:
    del node
    return state.get("route", {}).get("path", "")


_SAYS: Mapping[str, Callable[[State, str], str]] = {
    "classifies": _classified,
    "tags": _tagged,
    "decides-policy": _decided,
    "looks-up": _looked_up,
    "retrieves": _retrieved,
    "generates": _wrote,
    "checks": _checked,
    "asks-human": _asked,
    "calls-tool": _called,
    "ends": _ended,
}
