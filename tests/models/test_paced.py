"""Models with a rate: calls wait for their turn, and the next model answers where that is too long."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from sluicegate.errors import ModelError
from sluicegate.models.chain import ModelSet
from sluicegate.models.config import ModelConfig
from sluicegate.models.provider import ModelResponse
from sluicegate.policies.rates.limiter import RateLimiter
from sluicegate.services import EmbeddingRequest, Message, ModelRequest

CHAT = ModelRequest("slm", [Message("user", "hello")], max_tokens=9)


class Fake:
    def __init__(self, reply: str = "fine", delay_s: float = 0.0) -> None:
        self.asked: list[ModelRequest] = []
        self._reply, self._delay_s = reply, delay_s

    async def chat(self, request: ModelRequest) -> ModelResponse:
        self.asked.append(request)
        await asyncio.sleep(self._delay_s)
        return ModelResponse(self._reply, 1000, 100, "stop")

    async def embed(self, texts: Sequence[str], *, passages: bool = False) -> list[list[float]]:
        return [[1.0, 0.0] for _ in texts]

    async def identity(self) -> str:
        return "fake"

    async def warm(self) -> None: ...


@pytest.fixture
def limiter(tmp_path: Path) -> Iterator[RateLimiter]:
    made = RateLimiter(tmp_path)
    yield made
    made.close()


def paced(
    limiter: RateLimiter, rate: str, *, patience_s: float = 5.0, timeout_s: float = 60.0, **more: Fake
) -> ModelSet:
    providers = {"a:1": more.get("first", Fake("yes")), "b:1": more.get("second", Fake("no"))}
    models = ModelSet(
        {"slm": ModelConfig(use="a:1", otherwise=("b:1",) if "second" in more else (), timeout_s=timeout_s)},
        provider_of=lambda config: providers[config.use],
    )
    models.pace(limiter.turns({"a:1": rate}, patience_s))
    return models


async def test_calls_wait_for_their_turn_and_say_so(limiter: RateLimiter) -> None:
    models = paced(limiter, "20 per second, 2 at once")
    answers = await asyncio.gather(*(models.chat(CHAT) for _ in range(4)))
    waited = sorted(answer.waited_ms for answer in answers)
    assert [answer.text for answer in answers] == ["yes"] * 4
    assert waited[1] < 45, "two at once"
    assert 25 < waited[2] < waited[3], "one after the other, 50 ms apart"
    assert waited[3] > 75
    assert all(answer.ms >= answer.waited_ms for answer in answers)


@pytest.mark.slow
async def test_the_time_limit_of_a_call_begins_with_its_turn(limiter: RateLimiter) -> None:
    models = paced(limiter, "5 per second, 1 at once", timeout_s=0.15, first=Fake("yes", delay_s=0.05))
    answers = await asyncio.gather(*(models.chat(CHAT) for _ in range(3)))
    assert max(answer.waited_ms for answer in answers) > 300
    slow = paced(limiter, "5 per second, 1 at once", timeout_s=0.1, first=Fake("yes", delay_s=5))
    with pytest.raises(ModelError, match="no answer within"):
        await slow.chat(CHAT)


async def test_where_no_turn_is_soon_the_next_model_answers(limiter: RateLimiter) -> None:
    first = Fake("yes")
    models = paced(limiter, "1 per hour", patience_s=0.5, first=first, second=Fake("no"))
    assert (await models.chat(CHAT)).model == "a:1"
    for _ in range(4):
        answer = await models.chat(CHAT)
        assert (answer.model, answer.text) == ("b:1", "no")
        assert answer.fallback.startswith("a:1: SG731 a:1 is called 1 per hour at most; its next turn is in 3")
    assert len(first.asked) == 1, "and what is not called has not failed: its breaker is closed"
    alone = paced(limiter, "1 per hour", patience_s=0.5)
    with pytest.raises(ModelError) as caught:
        await alone.chat(CHAT)
    assert caught.value.code == "SG309"
    assert "SG731" in caught.value.message
    assert "limits.wait" in (caught.value.hint or "")


async def test_each_call_of_an_embedder_counts_and_none_that_is_remembered(limiter: RateLimiter) -> None:
    models = paced(limiter, "3 per hour", patience_s=0.0)
    # the fingerprint, then the text
    await models.embed(EmbeddingRequest("slm", ["a"]))
    with pytest.raises(ModelError, match="SG731"):
        await asyncio.gather(*(models.embed(EmbeddingRequest("slm", [text])) for text in "bc"))


async def test_models_without_a_rate_never_wait(limiter: RateLimiter) -> None:
    models = ModelSet({"slm": ModelConfig(use="c:1")}, provider_of=lambda _: Fake("yes"))
    models.pace(limiter.turns({"a:1": "1 per hour"}, 0.0))
    assert [(await models.chat(CHAT)).waited_ms < 20 for _ in range(3)] == [True] * 3
