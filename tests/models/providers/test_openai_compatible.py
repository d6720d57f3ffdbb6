"""A server with OpenAI's API, through LangChain's own client: thinking, usage, and answers that must fit a schema."""

from collections.abc import Iterator
from typing import Any

import pytest

from sluicegate.errors import ModelError
from sluicegate.models.chain import ModelSet
from sluicegate.models.config import ModelConfig
from sluicegate.services import Message, ModelRequest
from tests.support.openai_server import OpenAiServer, Says

HELLO = [Message("user", "Hello?")]
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
PRICE = {"input": 1.0, "output": 2.0}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAiServer]:
    monkeypatch.setenv("OPENAI_API_KEY", "none-needed")
    with OpenAiServer() as running:
        yield running


def models(server: OpenAiServer, *otherwise: str) -> ModelSet:
    own = {"use": "openai:qwen3", "base_url": server.url, "price_per_mtok": PRICE, "otherwise": otherwise}
    return ModelSet({"llm": ModelConfig.model_validate(own)})


def asking(schema: Any = None, **more: Any) -> ModelRequest:
    return ModelRequest("llm", HELLO, max_tokens=50, schema=schema, **more)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_thinking_is_kept_apart(server: OpenAiServer, field: str, streamed: bool) -> None:
    server.says = Says("Hello\nyou.", "They greet me.", field, USAGE)
    pieces: list[str] = []
    answer = await models(server).chat(asking(on_token=pieces.append if streamed else None))
    assert (answer.text, answer.thinking.strip()) == ("Hello\nyou.", "They greet me.")
    assert "".join(pieces) == ("Hello\nyou." if streamed else "")


async def test_thinking_in_the_text_is_kept_apart_in_a_stream_too(server: OpenAiServer) -> None:
    server.says = Says("<think>\nThey greet me.\n</think>\n\nHello\nyou.", usage=USAGE)
    pieces: list[str] = []
    answer = await models(server).chat(asking(on_token=pieces.append))
    assert (answer.text, answer.thinking, "".join(pieces)) == ("Hello\nyou.", "They greet me.", "Hello\nyou.")


async def test_reported_usage_is_what_is_charged(server: OpenAiServer) -> None:
    server.says = Says(usage=USAGE)
    answer = await models(server).chat(asking())
    assert (answer.prompt_tokens, answer.completion_tokens, answer.usage) == (9, 4, "reported")
    assert answer.usd == pytest.approx((9 * 1 + 4 * 2) / 1e6)


@pytest.mark.parametrize("usage", [None, dict.fromkeys(USAGE, 0)])
@pytest.mark.parametrize("streamed", [False, True])
async def test_without_usage_the_upper_bound_is_charged(server: OpenAiServer, usage: Any, streamed: bool) -> None:
    server.says = Says(usage=usage)
    chain = models(server)
    answer = await chain.chat(asking(on_token=(lambda _piece: None) if streamed else None))
    written = chain.tokens("Hello?")
    assert (answer.prompt_tokens, answer.completion_tokens, answer.usage) == (written, 50, "bound")
    assert answer.usd == pytest.approx(chain.bound("llm", written, 50))


async def test_a_stream_that_breaks_off_is_charged_its_bound(server: OpenAiServer) -> None:
    server.says = Says("one\ntwo\nthree", usage=USAGE, die_after=3)
    chain = models(server)
    with pytest.raises(ModelError) as caught:
        await chain.chat(asking(on_token=lambda _piece: None))
    assert caught.value.usd == pytest.approx(chain.bound("llm", chain.tokens("Hello?"), 50))


@pytest.mark.parametrize(
    "said",
    [
        Says('```json\n{"n": 3}\n```', usage=USAGE),
        Says('\ufeff{"n": 3}', usage=USAGE),
        Says('<think>{"n": 1} or {"n": 2}?</think>{"n": 3}', usage=USAGE),
        Says('{"name": "Answer", "arguments": {"n": 3}}', usage=USAGE),
        Says("I shall call it.", usage=USAGE, arguments='{"n": 3}', finish="tool_calls"),
    ],
    ids=["fence", "byte-order-mark", "thinking", "tool-call-in-text", "tool-call"],
)
async def test_a_schema_is_answered_in_many_wrappings(server: OpenAiServer, said: Says) -> None:
    server.says = said
    answer = await models(server).chat(asking(SCHEMA))
    assert answer.parsed == {"n": 3}
    assert len(server.requests) == 1


async def test_an_answer_that_was_cut_off_is_not_completed_by_guess_and_is_charged(server: OpenAiServer) -> None:
    server.says = Says('{"n": 3', usage=USAGE, finish="length")
    with pytest.raises(ModelError, match="SG305 the answer does not fit its schema") as caught:
        await models(server).chat(asking(SCHEMA))
    assert caught.value.usd == pytest.approx(2 * (9 * 1 + 4 * 2) / 1e6)
