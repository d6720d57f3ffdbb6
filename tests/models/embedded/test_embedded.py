"""The embedded runtime on the real weights: few calls, short ones."""

import asyncio
import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import ModelError
from sluicegate.files import sha256_of
from sluicegate.models.config import ModelConfig
from sluicegate.models.embedded import embedded, weights
from sluicegate.models.embedded.embedded import Embedded
from sluicegate.models.embedded.threads import threads
from sluicegate.models.embedded.worker_thread import Cancelled
from sluicegate.models.providers.registry import provider_for
from sluicegate.services import Message, ModelRequest

pytestmark = pytest.mark.slow

WATER = ModelRequest(
    "slm", [Message("system", "Answer in one short sentence."), Message("user", "What is water?")], max_tokens=8
)


@pytest.fixture
def chat() -> Embedded:
    return Embedded("smollm2-135m")


@pytest.fixture
def embedder() -> Embedded:
    return Embedded("all-minilm-l6-v2")


def cosine(one: list[float], other: list[float]) -> float:
    return sum(x * y for x, y in zip(one, other, strict=True))


async def test_the_known_similarity_holds(embedder: Embedded) -> None:
    eating, bread, horse = await embedder.embed(
        ["A man is eating food.", "A man is eating a piece of bread.", "A man is riding a horse."]
    )
    assert cosine(eating, bread) == pytest.approx(0.755, abs=0.002)
    assert cosine(eating, horse) < 0.4
    assert len(eating) == 384
    assert cosine(eating, eating) == pytest.approx(1, abs=1e-5)


async def test_texts_of_any_length_and_script_are_embedded(embedder: Embedded) -> None:
    vectors = await embedder.embed(["", "漢字" * 400, "word " * 700, "\x00\ud83d broken \ufffd"])
    assert [len(vector) for vector in vectors] == [384] * 4
    assert all(cosine(vector, vector) == pytest.approx(1, abs=1e-4) for vector in vectors)


async def test_an_answer_streams_counts_and_repeats(chat: Embedded) -> None:
    pieces: list[str] = []
    first = await chat.chat(replace(WATER, on_token=pieces.append))
    await asyncio.sleep(0)
    assert "".join(pieces) == first.text != ""
    assert first.completion_tokens <= 8
    assert first.prompt_tokens > 15
    assert (await chat.chat(WATER)).text == first.text


async def test_logprobs_are_of_the_tokens(chat: Embedded) -> None:
    answer = await chat.chat(replace(WATER, logprobs=3))
    assert "".join(token.token for token in answer.logprobs) == answer.text
    assert all(len(token.alternatives) == 3 for token in answer.logprobs)
    # greedy: the token is its own likeliest alternative
    assert all(token.alternatives[0] == (token.token, token.logprob) for token in answer.logprobs)


async def test_a_schema_is_kept_in_few_tokens(chat: Embedded) -> None:
    schema = {
        "type": "object",
        "properties": {"wet": {"enum": ["yes", "no"]}, "why": {"type": "string", "maxLength": 12}},
        "required": ["wet", "why"],
    }
    answer = await chat.chat(replace(WATER, schema=schema, max_tokens=40))
    assert answer.finish == "stop"
    assert set(json.loads(answer.text)) == {"wet", "why"}
    assert "\n" not in answer.text


async def test_stop_and_length_are_told_apart(chat: Embedded) -> None:
    whole = (await chat.chat(WATER)).text
    cut = await chat.chat(replace(WATER, max_tokens=2))
    stopped = await chat.chat(replace(WATER, stop=(whole.split()[1],)))
    assert cut.finish == "length"
    assert stopped.finish == "stop"
    assert whole.split()[1] not in stopped.text


async def test_a_prompt_longer_than_the_context_is_refused(chat: Embedded) -> None:
    with pytest.raises(ModelError) as caught:
        await chat.chat(replace(WATER, messages=[Message("user", "word " * 5000)]))
    assert caught.value.code == "SG314"
    assert "takes 4096" in caught.value.message


async def test_a_cancelled_call_stops_and_the_next_one_is_served(
    chat: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[str] = []
    real = chat._runtime.chat

    def watched(*given: Any) -> Any:
        try:
            response = real(*given)
        except Cancelled:
            ends.append("cancelled")
            raise
        ends.append("whole")
        return response

    monkeypatch.setattr(chat._runtime, "chat", watched)
    begun = asyncio.Event()
    endless = replace(
        WATER, max_tokens=2000, messages=[Message("user", "Count from one to one thousand in words.")],
        on_token=lambda _: begun.set(),
    )  # fmt: skip
    call = asyncio.create_task(chat.chat(endless))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await chat.chat(WATER)).text
    assert ends == ["cancelled", "whole"]


async def test_the_event_loop_stays_free(chat: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    real = chat._runtime.chat
    monkeypatch.setattr(chat._runtime, "chat", lambda *given: released.wait(100) and real(*given))
    call = asyncio.ensure_future(asyncio.gather(chat.chat(WATER), chat.chat(WATER)))
    for _ in range(10):
        await asyncio.sleep(0)
    released.set()
    assert [bool(answer and answer.text) for answer in await call] == [True, True]


async def test_the_wrong_kind_of_model_is_told(chat: Embedded, embedder: Embedded) -> None:
    with pytest.raises(ModelError, match="makes no embeddings"):
        await chat.embed(["x"])
    with pytest.raises(ModelError, match="cannot chat"):
        await embedder.chat(WATER)


async def test_a_file_of_the_users_own(embedder: Embedded, tmp_path: Path) -> None:
    file = weights.located("all-minilm-l6-v2")
    own = provider_for(ModelConfig(use=f"embedded:{file}"))
    assert await own.embed(["water"]) == await embedder.embed(["water"])
    assert await own.identity() == f"embedded:{file.name}@{sha256_of(file)}", "the same wherever it lies"
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\xff" * 100)
    for path, code in ((broken, "SG307"), (tmp_path / "none.gguf", "SG306")):
        with pytest.raises(ModelError) as caught:
            await provider_for(ModelConfig(use=f"embedded:{path}")).embed(["water"])
        assert caught.value.code == code


async def test_weights_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_runtimes", {})
    monkeypatch.setenv("SLUICEGATE_CACHE", str(tmp_path))
    with pytest.raises(ModelError) as caught:
        await Embedded("smollm2-135m").chat(WATER)
    assert caught.value.code == "SG306"
    (weights.weights_dir() / weights.WEIGHTS["smollm2-135m"].file).write_bytes(b"GGUF half")
    with pytest.raises(ModelError) as caught:
        await Embedded("smollm2-135m").chat(WATER)
    assert caught.value.code == "SG307"


def test_threads_are_few_and_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICEGATE_THREADS", "3")
    assert threads() == 3
    monkeypatch.delenv("SLUICEGATE_THREADS")
    monkeypatch.setattr("sluicegate.models.embedded.threads._cores", lambda: 2)
    assert threads() == 1
    monkeypatch.setattr("sluicegate.models.embedded.threads._cores", lambda: 6)
    monkeypatch.setattr("sluicegate.models.embedded.threads._load", lambda: 2.4)
    assert threads() == 3
