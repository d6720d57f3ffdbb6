"""What prompts, tool arguments and policies may say of a `for-each`: ``{{item}}``, and ``{{items.NAME}}`` after it; and
prompts of a sub-workflow: ``{{inputs.NAME}}``.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any, cast

from sluicegate.services import Prompt, Prompts, Services
from sluicegate.state import DocumentRef, State

__all__ = [
    "PromptsWithItems",
    "document_of",
    "item_context",
    "item_placeholders",
    "item_values",
    "placeholder_fits",
    "text_of",
]


def item_values(state: State, services: Services) -> dict[str, Any]:
    """Every placeholder of the item that a node is visited for, with its value."""
    if "item" not in state:
        return {}
    value, document = state["item"]["value"], document_of(state)
    parts: Mapping[str, Any] = cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
    return {
        "item": services.retriever.text(document) if document else value,
        "item.index": state["item"]["index"],
        **{f"item.{key}": part for key, part in parts.items()},
    }


def item_context(state: State) -> dict[str, Any]:
    """What policies know of the item that is decided on, as a part of their context."""
    if "item" not in state:
        return {}
    value: Any = state["item"]["value"]
    parts = cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {"value": value}
    return {"item": {"of": state["item"]["node"], "index": state["item"]["index"], "parts": parts}}


def item_placeholders(state: State, services: Services) -> dict[str, str]:
    """Every placeholder that items and inputs fill in this state, with its text."""
    found = {f"inputs.{name}": text_of(value) for name, value in state.get("inputs", {}).items()}
    found |= {name: text_of(value) for name, value in item_values(state, services).items()}
    for name, results in (state.get("items") or {}).items():
        found[f"items.{name}"] = "\n".join(f"{each['index'] + 1}. {_result(each)}" for each in results)
    for name, failures in (state.get("failed_items") or {}).items():
        found[f"failed_items.{name}"] = "\n".join(f"{one['index'] + 1}. {one['code']}" for one in failures)
    return found


def placeholder_fits(name: str, collected: Collection[str], *, within: bool) -> bool:
    """Whether items may fill a placeholder: of a node that is visited for an item, or of any other."""
    group, _, member = name.partition(".")
    return (within and group == "item") or (group in ("items", "failed_items") and member in collected)


def document_of(state: State) -> DocumentRef | None:
    """The passage that the item is; None for any other item."""
    value: Any = state["item"]["value"] if "item" in state else None
    return value if value in state.get("documents", ()) else None


class PromptsWithItems:
    """`services.Prompts` of a step whose state has items."""

    def __init__(self, prompts: Prompts, values: Mapping[str, str]) -> None:
        self._prompts, self._values = prompts, values

    def render(self, id: str, **values: str) -> Prompt:
        return self._prompts.render(id, **{**self._values, **values})


def _result(result: Mapping[str, Any]) -> str:
    """A result's draft, else the fields that were extracted, else all that was written for it.

    The numbers of its citations are those of its own passages, so the draft names the documents instead.
    """
    if "answer" in result:
        text: str = result["answer"]["text"]
        for citation in result["answer"]["citations"]:
            text = text.replace(citation["marker"], f"[{citation['document']}]")
        return text
    if "extraction" in result:
        return text_of(result["extraction"]["fields"])
    return text_of({key: part for key, part in result.items() if part and key not in ("index", "value")} or "-")


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
