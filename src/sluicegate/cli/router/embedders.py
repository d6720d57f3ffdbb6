"""Embedders for the router commands: a workflow's, one by name, or the one that an artifact names."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sluicegate.cli._support.console import progress
from sluicegate.errors import ModelError
from sluicegate.services import EmbeddingRequest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sluicegate.graphs.config.load import Workflow
    from sluicegate.models.chain import ModelSet
    from sluicegate.routing.intent.fit import Embed
    from sluicegate.routing.intent.router import EmbedNow

__all__ = ["EMBEDDER", "LAYERED", "ROLE", "embed_like", "embedding", "fetched", "models_of", "only"]

EMBEDDER = "embedded:all-minilm-l6-v2"
LAYERED = f"{EMBEDDER}+layers"
ROLE = "embedder"


def models_of(workflow: "Workflow") -> "ModelSet":
    from sluicegate.models.chain import ModelSet

    return ModelSet(workflow.config.models)


def only(embedder: str) -> "ModelSet":
    """The one model that embeds, as `ROLE`, fetched first when it is embedded and absent."""
    from sluicegate.models.chain import ModelSet
    from sluicegate.models.config import ModelConfig
    from sluicegate.models.embedded.weights import LAYERS, WEIGHTS

    provider, _, name = embedder.partition(":")
    if not name:
        raise ModelError("SG308", f"{embedder!r} is not a model", hint="Write provider:model, or none")
    if provider == "embedded" and (name := name.removesuffix(LAYERS)) in WEIGHTS:
        fetched(name)
    return ModelSet({ROLE: ModelConfig(use=embedder, timeout_s=600)})


def fetched(name: str) -> None:
    """Fetches the weights of an embedded model where they are absent."""
    from sluicegate.models.embedded.weights import ensure

    with progress() as bar:
        line = bar.add_task(f"fetching {name}", total=None)
        ensure(name, lambda done, total: bar.update(line, completed=done, total=total))


def embedding(models: "ModelSet", role: str) -> "tuple[Embed, dict[str, Any]]":
    """An embedding call with a cache, and the embedder's entry in the card."""
    probe = asyncio.run(models.embed(EmbeddingRequest(role, ["sluicegate"])))

    async def embed(texts: Sequence[str], told: Callable[[int, int], None]) -> "NDArray[np.float32]":
        import numpy as np

        request = EmbeddingRequest(role, texts, like=probe.fingerprint, remember=True, on_progress=told)
        made = await models.embed(request)
        return np.asarray(made.vectors, np.float32)

    facts = {"model": probe.model, "fingerprint": probe.fingerprint, "languages": sorted(models.languages(role))}
    return embed, facts


def embed_like(embedder: Mapping[str, Any]) -> "EmbedNow":
    """A call of the embedder that a card names; an embedder with another fingerprint is refused."""
    models = only(embedder["model"])

    async def embed(texts: Sequence[str]) -> Sequence[Sequence[float]]:
        return (await models.embed(EmbeddingRequest(ROLE, texts, like=embedder["fingerprint"]))).vectors

    return embed
