"""Fingerprints: whether two embedders' vectors may be compared, by texts of every kind."""

import logging
from collections.abc import Sequence

import pytest

from sluicegate.errors import ModelError
from sluicegate.models.chain import ModelSet
from sluicegate.models.config import ModelConfig
from sluicegate.models.embeddings.fingerprint import EARLIER_PROBES, PROBES, fingerprint_of, same_embedder
from sluicegate.services import EmbeddingRequest

VECTORS = [[0.01 * number, 0.5, -0.2] for number in range(len(PROBES))]


class Embeds:
    """A provider whose vectors of the probes are given."""

    def __init__(self, vectors: Sequence[Sequence[float]]) -> None:
        self.vectors = vectors

    async def embed(self, texts: Sequence[str], *, passages: bool = False) -> list[list[float]]:
        return [list(self.vectors[PROBES.index(text)] if text in PROBES else self.vectors[0]) for text in texts]

    async def warm(self) -> None: ...

    async def identity(self) -> str:
        return "a:1@1"


def changed(at: int) -> list[list[float]]:
    return [[value + 0.1 * (number == at) for value in vector] for number, vector in enumerate(VECTORS)]


@pytest.mark.parametrize("at", range(len(PROBES)))
def test_every_kind_of_text_counts(at: int) -> None:
    assert same_embedder(fingerprint_of(VECTORS), fingerprint_of(VECTORS))
    assert not same_embedder(fingerprint_of(VECTORS), fingerprint_of(changed(at)))


@pytest.mark.parametrize("other", ["", "3:", "3:1,2", "3:" + fingerprint_of(VECTORS[:3]).partition(":")[2]])
def test_a_fingerprint_that_says_too_little_is_no_ones(other: str) -> None:
    assert not same_embedder(fingerprint_of(VECTORS), other)
    assert not same_embedder(other, fingerprint_of(VECTORS))


async def test_one_of_the_last_release_is_compared_by_what_it_has_and_said(caplog: pytest.LogCaptureFixture) -> None:
    earlier = fingerprint_of(VECTORS[:EARLIER_PROBES])
    models = ModelSet({"e": ModelConfig(use="a:1")}, provider_of=lambda _config: Embeds(changed(5)))  # type: ignore[arg-type, return-value]
    for _ in range(2):
        assert (await models.embed(EmbeddingRequest("e", [], like=earlier))).model == "a:1"
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "compared with the embedder of a router of release 0.1.0 on English only" in caplog.text


async def test_an_unlike_embedder_opens_no_breaker() -> None:
    """The same role may embed for an index of its own and be asked for a router that was fitted with another."""
    models = ModelSet(
        {"e": ModelConfig(use="a:1", breaker_failures=1)},
        provider_of=lambda _config: Embeds(VECTORS),  # type: ignore[arg-type, return-value]
    )
    with pytest.raises(ModelError, match="SG312"):
        await models.embed(EmbeddingRequest("e", ["x"], like=fingerprint_of(changed(3))))
    assert (await models.embed(EmbeddingRequest("e", ["x"]))).vectors
