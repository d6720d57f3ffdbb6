"""The embedder that retrieval needs: vectors with the fingerprint of their model.

Vectors of two models are not comparable, even at the same length. An index therefore keeps the fingerprint of its
embedder, and accepts only matching vectors: a fallback with the same vectors may answer, another may not.
"""

from sluicegate.errors import ModelError, RetrievalError
from sluicegate.services import Embedder, EmbeddingRequest, Embeddings

__all__ = ["embedded"]


async def embedded(models: Embedder, request: EmbeddingRequest, *, index: str, built_with: str) -> Embeddings:
    """Embed with what built the index. Raises `RetrievalError` SG404 when only others answer, `ModelError`."""
    try:
        return await models.embed(request)
    except ModelError as error:
        if request.like is None or "SG312" not in error.message:
            raise
        raise RetrievalError(
            "SG404",
            f"index {index!r} was built with {built_with}, another embedder answers now ({error.message})",
            hint=f"Bring {built_with} back, or run 'sluicegate ingest --rebuild' for this workflow",
        ) from error
