"""Semantic similarity of a text to some tags, and which of them apply.

Similarities of embeddings, which do better than a very small model's text: what the kind `tag` and the tasks
`classify` and `tag` share. Neither scores nor limits are calibrated; for that, fit a router.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sluicegate.services import EmbeddingRequest, Models

__all__ = ["Tagging", "nearness", "tagged"]

_FAR, _SHARE = 0.15, 0.7
"""Minimum similarity of a tag, and minimum share of the nearest tag's; chosen on the tasks' labelled set."""


@dataclass(frozen=True, slots=True)
class Tagging:
    """The tags of a text."""

    found: list[str]
    """The tags whose score reaches their limit, nearest first."""
    scores: dict[str, float]
    """Cosine similarity of the text with each tag's words."""
    limits: dict[str, float]
    model: str
    """The model that really embedded, as ``provider:model``."""


async def nearness(models: Models, role: str, text: str, names: Sequence[str]) -> tuple[list[float], str]:
    """Cosine similarity of the text with each name, and which model embedded them. Raises `ModelError`."""
    said = await models.embed(EmbeddingRequest(role, [text, *(f"This is about {name}." for name in names)]))
    vector, *others = said.vectors
    return [sum(a * b for a, b in zip(vector, other, strict=True)) for other in others], said.model


async def tagged(
    models: Models,
    role: str,
    text: str,
    tags: Mapping[str, str],
    *,
    limits: Mapping[str, float] | None = None,
    most: int | None = None,
) -> Tagging:
    """The tags that fit, at most `most`; `tags` gives each one's words. Raises `ModelError`.

    A tag without a limit of its own fits from 0.15 on, and from 0.7 times the nearest tag's score.
    """
    near, model = await nearness(models, role, text, list(tags.values()))
    scores = dict(zip(tags, near, strict=True))
    least = max(_FAR, _SHARE * max(near, default=0.0))
    each = {tag: (limits or {}).get(tag, least) for tag in tags}
    found = sorted((tag for tag in tags if scores[tag] >= each[tag]), key=lambda tag: -scores[tag])
    return Tagging(found[:most], scores, each, model)
