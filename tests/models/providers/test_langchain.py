"""Other providers, through LangChain's own factory, with a package made up for the test."""

import sys
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any

import pytest
from langchain.chat_models import base
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableLambda

from sluicegate.errors import ModelError
from sluicegate.models.config import ModelConfig
from sluicegate.models.providers.langchain import LangChain
from sluicegate.services import Message, ModelRequest

SECRET = "sk-very-secret"
HELLO = ModelRequest("slm", [Message("system", "Be kind."), Message("user", "Hello?")], max_tokens=9)


class StatusError(Exception):
    def __init__(self, status_code: int, message: str = f"Incorrect key {SECRET}") -> None:
        super().__init__(message)
        self.status_code = status_code


class ReadTimeoutError(Exception): ...


class APIConnectionError(Exception): ...


class ChatGroq(BaseChatModel):
    """What a provider's package would bring; the name is one LangChain knows."""

    model: str
    temperature: float | None = None
    max_tokens: int = 0
    timeout: float = 0
    max_retries: int = 2
    fails: Any = None
    calls: list[dict[str, Any]] = []  # noqa: RUF012

    @property
    def _llm_type(self) -> str:
        return "fake"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        raise NotImplementedError

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        Recorder.calls.append({"messages": [message.content for message in messages], "stop": stop, "model": self})
        if Recorder.error:
            raise Recorder.error
        message = AIMessage(
            "Hi.",
            usage_metadata={
                "input_tokens": 12,
                "output_tokens": 3,
                "total_tokens": 15,
                "input_token_details": {"cache_read": 8},
            },
            response_metadata={
                "finish_reason": "length",
                "logprobs": {"content": [{"token": "Hi", "logprob": -0.5, "top_logprobs": []}]},
            },
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _astream(self, *_: Any, **__: Any) -> AsyncIterator[ChatGenerationChunk]:
        for piece in ("Hi", " there"):
            yield ChatGenerationChunk(message=AIMessageChunk(piece))

    def with_structured_output(self, schema: Any, *, include_raw: bool = False, **_: Any) -> Any:
        assert include_raw
        assert schema["title"]
        return RunnableLambda(lambda _messages: {"raw": AIMessage(""), "parsed": {"n": 3}, "parsing_error": None})


class Recorder:
    calls: list[dict[str, Any]] = []  # noqa: RUF012
    error: Exception | None = None


@pytest.fixture
def groq(monkeypatch: pytest.MonkeyPatch) -> Iterator[LangChain]:
    module = ModuleType("langchain_groq")
    module.ChatGroq = ChatGroq  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "langchain_groq", module)
    monkeypatch.setenv("GROQ_API_KEY", SECRET)
    base._get_chat_model_creator.cache_clear()
    Recorder.calls, Recorder.error = [], None
    yield LangChain(ModelConfig(use="groq:llama-9", timeout_s=7))
    base._get_chat_model_creator.cache_clear()


async def test_an_answer_with_its_usage_and_logprobs(groq: LangChain) -> None:
    answer = await groq.chat(HELLO)
    assert (answer.text, answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens) == ("Hi.", 12, 3, 8)
    assert answer.finish == "length"
    assert [(token.token, token.logprob) for token in answer.logprobs] == [("Hi", -0.5)]
    call = Recorder.calls[0]
    assert call["messages"] == ["Be kind.", "Hello?"]
    made = call["model"]
    assert (made.model, made.max_tokens, made.timeout, made.max_retries, made.temperature) == ("llama-9", 9, 7, 0, 0)


async def test_a_stream(groq: LangChain) -> None:
    pieces: list[str] = []
    answer = await groq.chat(ModelRequest("slm", HELLO.messages, 9, on_token=pieces.append))
    assert pieces == ["Hi", " there"]
    assert answer.text == "Hi there"


async def test_a_structured_answer_is_json_text(groq: LangChain) -> None:
    answer = await groq.chat(
        ModelRequest("slm", HELLO.messages, 9, schema={"type": "object", "properties": {"n": {"type": "integer"}}})
    )
    assert answer.text == '{"n": 3}'


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StatusError(401), "SG308"),
        (StatusError(404), "SG302"),
        (StatusError(429), "SG304"),
        (StatusError(529), "SG304"),
        (StatusError(504), "SG303"),
        (StatusError(400, "maximum context length is 8192 tokens"), "SG314"),
        (StatusError(400), "SG305"),
        (ReadTimeoutError(), "SG303"),
        (APIConnectionError(), "SG301"),
        (ValueError(SECRET), "SG305"),
    ],
)
async def test_failures_have_their_codes_and_no_keys(groq: LangChain, error: Exception, code: str) -> None:
    Recorder.error = error
    with pytest.raises(ModelError) as caught:
        await groq.chat(HELLO)
    assert caught.value.code == code
    assert SECRET not in str(caught.value)


def test_a_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langchain_mistralai", None)
    monkeypatch.delitem(sys.modules, "langchain_mistralai")
    with pytest.raises(ModelError) as caught:
        LangChain(ModelConfig(use="mistralai:small"))
    assert str(caught.value) == (
        "SG308 mistralai:small needs the package langchain-mistralai. Install it: `uv pip install langchain-mistralai`"
    )


def test_a_missing_key_names_its_variable(groq: LangChain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GROQ_API_KEY")
    with pytest.raises(ModelError) as caught:
        LangChain(ModelConfig(use="groq:llama-9"))
    assert (caught.value.code, caught.value.hint) == ("SG308", "Set GROQ_API_KEY")


def test_an_unknown_provider_gets_the_nearest() -> None:
    with pytest.raises(ModelError) as caught:
        LangChain(ModelConfig(use="opnai:gpt-5"))
    assert (caught.value.code, caught.value.hint) == ("SG308", "Did you mean 'openai'?")
    with pytest.raises(ModelError) as caught:
        LangChain(ModelConfig(use="olama:qwen3"))
    assert caught.value.hint == "Did you mean 'ollama'?"
