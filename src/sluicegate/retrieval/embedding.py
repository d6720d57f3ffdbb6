"""The embedder that retrieval needs: vectors with the fingerprint of their model.

Vectors of two models are not comparable, even at the same length. An index therefore keeps the fingerprint of its
embedder, and accepts only matching vectors: a fallback with the same vectors may answer, another may not.
"""

from sluicegate.errors import ChainFailedError, RetrievalError, UnlikeEmbedderError
from sluicegate.services import Embedder, EmbeddingRequest, Embeddings

__all__ = ["embedded"]


async def embedded(models: Embedder, request: EmbeddingRequest, *, index: str, built_with: str) -> Embeddings:
    """Embed with what built the index. Raises `RetrievalError` SG404 when only others answer, `ModelError`."""
    try:
        return await models.embed(request)
    except ChainFailedError as error:
        if not any(isinstance(each, UnlikeEmbedderError) for each in error.failures):
            raise
        raise RetrievalError(
            "SG404",
            f"index {index!r} was built with {built_with}, another embedder answers now ({error.message})",
            hint=f"Bring {built_with} back, or run 'sluicegate ingest --rebuild' for this workflow",
        ) from error
