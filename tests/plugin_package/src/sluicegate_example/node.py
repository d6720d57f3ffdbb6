"""The kind `count-words`: keeps the request's number of words in the state, for conditions to branch on."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from sluicegate import Node, NodeKind, Services, State


class CountWords(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str = "words"
    """The key under `extra`."""


def _make(name: str, settings: CountWords) -> Node:
    async def count_words(state: State, services: Services) -> dict[str, Any]:
        return {"extra": {**state.get("extra", {}), settings.key: len(state["request"]["text"].split())}}

    return count_words


COUNT_WORDS = NodeKind(
    name="count-words",
    doc="Keep the number of words of the request.",
    settings=CountWords,
    make=_make,
    writes=frozenset({"extra"}),
)
