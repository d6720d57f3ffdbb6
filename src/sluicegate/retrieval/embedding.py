"""What retrieval needs of an embedder: vectors together with a proof of which model they are from.

Vectors of two models do not compare, even when they have the same length. An index therefore keeps the fingerprint of
its embedder, and asks only for vectors like it: a fallback that gives the same vectors may answer, another may not.
"""

from collections.abc import Sequence
from typing import Protocol

from sluicegate.errors import ModelError, RetrievalError

__all__ = ["Embedded", "Embedder", "embedded"]


class Embedded(Protocol):
    """Vectors of one model, and which one it was."""

    @property
    def vectors(self) -> Sequence[Sequence[float]]: ...
    @property
    def model(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...


class Embedder(Protocol):
    """`services.Models` are one."""

    def describe(self, role: str) -> str:
        """The model asked for first, as ``provider:model``."""
        ...

    async def embed(
        self, role: str, texts: Sequence[str], *, like: str | None = None, remember: bool = False
    ) -> Embedded:
        """One vector per text, all of one model; of one whose fingerprint is like `like` when that is given (else
        `ModelError`, with SG312 in its message). `remember` keeps them for the next time."""
        ...


async def embedded(
    models: Embedder, role: str, texts: Sequence[str], *, index: str, like: str | None, built_with: str, remember: bool
) -> Embedded:
    """Embed `texts` with what built the index. Raises `RetrievalError` SG404 when only others answer, `ModelError`."""
    try:
        return await models.embed(role, texts, like=like, remember=remember)
    except ModelError as error:
        if like is None or "SG312" not in error.message:
            raise
        raise RetrievalError(
            "SG404",
            f"index {index!r} was built with {built_with}, another embedder answers now ({error.message})",
            hint=f"Bring {built_with} back, or run 'sluicegate ingest --rebuild' for this workflow",
        ) from error
