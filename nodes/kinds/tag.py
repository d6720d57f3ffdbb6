"""`tag`: which of some declared tags the request or the draft is about, by meaning; none, one or several.

A node's scores are kept next to those of others, so that one may tag the request and another the draft. A tag that
could not be scored has no score, and a condition that tests it is unknown rather than false.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from sluicegate.errors import StoppedError
from sluicegate.nodes._settings import Settings
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.nodes.tagging import Tagging, tagged
from sluicegate.services import Services
from sluicegate.state import State, Tags, question

__all__ = ["TAG", "Tag", "TagWords"]


class TagWords(Settings):
    """One tag: its meaning, and how similar a text must be."""

    describe: str = ""
    """What a text with this tag is about, in words that could follow "this is about"; by default the tag's name."""
    limit: float | None = Field(default=None, gt=0, le=1)
    """The minimum score of the tag; by default 0.15, or 0.7 times the nearest tag's score where that is
    more."""


class Tag(Settings):
    tags: dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$", max_length=100)], TagWords] = (
        Field(min_length=1)
    )
    """The tags to score, by name."""
    of: Literal["request", "draft"] = "request"
    """What is tagged: the request, or the current draft."""
    most: int | None = Field(default=None, ge=1)
    """Maximum number of tags, nearest first; 1 chooses one. By default every tag that reaches its limit."""
    model: str = "embedder"
    """The role of the embedding model."""


def _make(name: str, settings: Tag) -> Node:
    del name
    words = {tag: own.describe or tag.replace("_", " ") for tag, own in settings.tags.items()}
    limits = {tag: own.limit for tag, own in settings.tags.items() if own.limit is not None}

    async def tag(state: State, services: Services) -> dict[str, Any]:
        text = question(state) if settings.of == "request" else _draft(state)
        made: Tagging | None = None
        if text:
            try:
                made = await tagged(services.models, settings.model, text, words, limits=limits, most=settings.most)
            except StoppedError:
                made = None  # the embedder may not be called: nothing was scored, and `spend` says why
        return {"tags": _beside(state.get("tags"), words, made)}

    return tag


def _draft(state: State) -> str:
    answer = state.get("answer")
    return answer["text"] if answer else ""


def _beside(others: Tags | None, own: dict[str, str], made: Tagging | None) -> Tags:
    """The new tags merged with those of other nodes; tags of this node's earlier visits are dropped."""
    scores = {tag: score for tag, score in others["scores"].items() if tag not in own} if others else {}
    limits = {tag: limit for tag, limit in others["limits"].items() if tag not in own} if others else {}
    found = [tag for tag in others["found"] if tag not in own] if others else []
    if made:
        scores |= {tag: round(score, 4) for tag, score in made.scores.items()}
        limits |= {tag: round(limit, 4) for tag, limit in made.limits.items()}
        found += made.found
    return {"found": sorted(found, key=lambda tag: -scores[tag]), "scores": scores, "limits": limits}


TAG = NodeKind(
    name="tag",
    doc="Score the request or the draft against declared tags, each with a limit.",
    settings=Tag,
    make=_make,
    writes=frozenset({"tags", "spend"}),
    reads=lambda settings: frozenset({"answer"} if settings.of == "draft" else ()),
    effects=frozenset({"tags"}),
    observation="chain",
)
