"""The layered encoder on the real weights: it is the same model as llama.cpp runs, read layer by layer."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sluicegate.errors import ModelError
from sluicegate.models.config import ModelConfig
from sluicegate.models.embedded import weights
from sluicegate.models.embedded.bert import Bert
from sluicegate.models.embedded.embedded import Embedded
from sluicegate.models.embedded.layered import LAST, Layered
from sluicegate.models.providers.registry import provider_for
from sluicegate.services import Message, ModelRequest

pytestmark = pytest.mark.slow

NAME = "all-minilm-l6-v2"
SIZE = 384
TEXTS = ["A man is eating food.", "naïve CAFÉ, n° 5!", "漢字 and \ud83d", "", "the printer on floor 3 does not print"]


@pytest.fixture(scope="module", autouse=True)
def _weights() -> None:
    weights.ensure(NAME)


@pytest.fixture
def layered() -> Layered:
    return Layered(f"{NAME}{weights.LAYERS}")


def views(vector: Sequence[float]) -> NDArray[np.float32]:
    """(mean and maximum, layers, size), each of unit length."""
    return np.asarray(vector, np.float32).reshape(2, LAST, SIZE) * np.sqrt(2 * LAST)


async def test_the_last_layers_mean_is_the_embedding_of_llama_cpp(layered: Layered) -> None:
    ours, theirs = await layered.embed(TEXTS), await Embedded(NAME).embed(TEXTS)
    for vector, embedding in zip(ours, theirs, strict=True):
        assert views(vector)[0, -1] @ np.asarray(embedding) == pytest.approx(1, abs=1e-4)


async def test_every_view_has_unit_length_and_so_has_the_whole(layered: Layered) -> None:
    for vector in await layered.embed(TEXTS):
        assert np.linalg.norm(views(vector), axis=-1) == pytest.approx(np.ones((2, LAST)), abs=1e-4)
        assert np.linalg.norm(np.asarray(vector)) == pytest.approx(1, abs=1e-5)


async def test_a_vector_does_not_depend_on_its_neighbours(layered: Layered) -> None:
    together = await layered.embed(TEXTS)
    for at, text in enumerate(TEXTS):
        (alone,) = await layered.embed([text])
        assert np.asarray(alone) == pytest.approx(np.asarray(together[at]), abs=1e-5)


async def test_a_text_longer_than_the_encoder_reads_counts_whole(layered: Layered) -> None:
    start = "the server room is flooded " * 120
    one, other = await layered.embed([start, start + "and my password expired " * 30])
    assert np.linalg.norm(np.asarray(one)) == pytest.approx(1, abs=1e-5)
    assert np.abs(np.asarray(one) - np.asarray(other)).max() > 0.005


async def test_it_is_served_by_name_and_identified_by_its_weights() -> None:
    provider = provider_for(ModelConfig(use=f"embedded:{NAME}{weights.LAYERS}"))
    assert isinstance(provider, Layered)
    assert weights.WEIGHTS[NAME].digest in await provider.identity()
    assert await provider.identity() != await Embedded(NAME).identity()


async def test_it_does_not_chat(layered: Layered) -> None:
    with pytest.raises(ModelError, match="cannot chat"):
        await layered.chat(ModelRequest("slm", [Message("user", "hello")], max_tokens=4))


def test_a_chat_model_has_no_layers_to_show() -> None:
    with pytest.raises(ModelError, match="need a sentence encoder") as caught:
        Layered(f"smollm2-135m{weights.LAYERS}")
    assert caught.value.code == "SG305"
    with pytest.raises(ModelError, match="unknown embedded model") as caught:
        Layered(f"all-minilm{weights.LAYERS}")
    assert "all-minilm-l6-v2" in (caught.value.hint or "")


async def test_a_call_that_nobody_awaits_stops(layered: Layered, monkeypatch: pytest.MonkeyPatch) -> None:
    await layered.warm()
    entered, go_on, passes = threading.Event(), threading.Event(), 0
    hidden = Bert.hidden

    def slow(self: Bert, tokens: NDArray[np.integer]) -> list[NDArray[np.float32]]:
        nonlocal passes
        passes += 1
        entered.set()
        go_on.wait(10)
        return hidden(self, tokens)

    monkeypatch.setattr(Bert, "hidden", slow)
    task = asyncio.create_task(layered.embed(["one", "one two three", "one two three four five six"]))
    await asyncio.to_thread(entered.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await layered.embed(["next"])
    assert passes == 2  # the pass under way, and the next call's


def test_another_architecture_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sluicegate.models.embedded.layered import Encoder

    monkeypatch.setattr(weights, "located", lambda _name: weights.weights_dir() / weights.WEIGHTS["smollm2-135m"].file)
    weights.ensure("smollm2-135m")
    with pytest.raises(ModelError) as caught:
        Encoder("smollm2-135m").load()
    assert caught.value.code == "SG307"
