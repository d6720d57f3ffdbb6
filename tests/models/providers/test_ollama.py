"""The provider `ollama:` over real HTTP. Tests with the `address` fixture run against a real server too."""

import asyncio
import threading
from dataclasses import replace
from typing import Any

import pytest

from sluicegate.errors import ModelError
from sluicegate.models.chain import ModelSet
from sluicegate.models.config import ModelConfig
from sluicegate.models.embedded.embedded import Embedded
from sluicegate.models.providers.ollama import Ollama, server_url
from sluicegate.services import Message, ModelRequest
from tests.models.conftest import REAL
from tests.support.ollama_server import Faults, OllamaServer
from tests.support.waiting import soon

pytestmark = pytest.mark.slow

HELLO = ModelRequest(
    "slm", [Message("system", "Answer in one short sentence."), Message("user", "What is water?")], max_tokens=12
)
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"enum": ["yes", "no"]}},
    "required": ["answer"],
}


@pytest.fixture(params=["loopback", pytest.param("real", marks=pytest.mark.ollama)])
def address(request: pytest.FixtureRequest) -> str:
    """The loopback server, and a real one when OLLAMA_HOST names it (with `smollm2:135m` and `all-minilm` pulled)."""
    if request.param == "loopback":
        return request.getfixturevalue("server").url
    if not REAL:
        pytest.skip("OLLAMA_HOST is not set")
    return REAL


def chat_model(url: str, **settings: Any) -> Ollama:
    return Ollama(ModelConfig(use="ollama:smollm2:135m", base_url=url, **settings))


async def test_an_answer_streams_and_counts_its_tokens(address: str) -> None:
    pieces: list[str] = []
    answer = await chat_model(address).chat(replace(HELLO, on_token=pieces.append))
    assert answer.text == "".join(pieces) != ""
    assert len(pieces) > 1
    assert answer.prompt_tokens > 10
    assert 1 <= answer.completion_tokens <= 12
    assert answer.finish in ("stop", "length")


async def test_a_cut_answer_says_so(address: str) -> None:
    answer = await chat_model(address).chat(replace(HELLO, max_tokens=2))
    assert answer.finish == "length"


async def test_a_schema_constrains_the_answer(address: str) -> None:
    answer = await chat_model(address).chat(replace(HELLO, schema=SCHEMA, max_tokens=30))
    assert answer.text.replace(" ", "").replace("\n", "") in ('{"answer":"yes"}', '{"answer":"no"}')


async def test_logprobs_come_with_alternatives(address: str) -> None:
    answer = await chat_model(address).chat(replace(HELLO, max_tokens=3, logprobs=4))
    assert 1 <= len(answer.logprobs) <= 3
    assert all(token.logprob <= 0 and len(token.alternatives) == 4 for token in answer.logprobs)
    assert "".join(token.token for token in answer.logprobs) == answer.text


async def test_a_prompt_longer_than_the_context_is_refused(address: str) -> None:
    long = ModelRequest("slm", [Message("user", "tell me about the weather " * 200)], max_tokens=5)
    with pytest.raises(ModelError) as caught:
        await chat_model(address, context=256).chat(long)
    assert caught.value.code == "SG314"


async def test_embeddings_are_the_known_ones(address: str) -> None:
    model = Ollama(ModelConfig(use="ollama:all-minilm", base_url=address))
    eating, bread, empty = await model.embed(["A man is eating food.", "A man is eating a piece of bread.", ""])
    assert sum(x * y for x, y in zip(eating, bread, strict=True)) == pytest.approx(0.755, abs=0.01)
    assert sum(x * x for x in empty) == pytest.approx(1, abs=1e-4)


async def test_a_missing_model_names_the_command_that_fetches_it(address: str) -> None:
    with pytest.raises(ModelError) as caught:
        await Ollama(ModelConfig(use="ollama:no-such-model", base_url=address)).chat(HELLO)
    assert caught.value.code == "SG302"
    assert caught.value.hint == "Run `ollama pull no-such-model`"


async def test_a_long_text_is_embedded_in_parts(server: OllamaServer) -> None:
    model = Ollama(ModelConfig(use="ollama:all-minilm", base_url=server.url))
    long = "The printer is out of paper. " * 120
    [whole], [embedded] = await model.embed([long]), await Embedded("all-minilm-l6-v2").embed([long])
    assert sum(x * y for x, y in zip(whole, embedded, strict=True)) == pytest.approx(1, abs=1e-3)
    assert all(body["truncate"] is False for path, body in server.requests if path == "/api/embed")


async def test_what_is_sent_leaves_nothing_to_the_servers_defaults(server: OllamaServer) -> None:
    await chat_model(server.url, context=2048, keep_alive="5m").chat(replace(HELLO, max_tokens=2, stop=("x",), seed=7))
    body = server.requests[-1][1]
    assert body["options"] == {"num_ctx": 2048, "num_predict": 2, "temperature": 0.0, "seed": 7, "stop": ["x"]}
    assert body["keep_alive"] == "5m"
    assert (body["truncate"], body["shift"], body["think"]) == (False, False, False)


async def test_a_server_that_cuts_in_silence_is_caught(server: OllamaServer) -> None:
    server.faults = Faults(ignores_truncate=True)
    long = ModelRequest("slm", [Message("user", "tell me about the weather " * 200)], max_tokens=2)
    with pytest.raises(ModelError) as caught:
        await chat_model(server.url, context=256).chat(long)
    assert caught.value.code == "SG314"
    assert "read only" in caught.value.message


@pytest.mark.parametrize(
    ("faults", "code"),
    [
        (Faults(status=503, error="server busy, please try again.  maximum pending requests exceeded"), "SG304"),
        (Faults(status=500, error="model requires more system memory (5.6 GiB) than is available (2.0 GiB)"), "SG304"),
        (Faults(status=500, error="llama runner process has terminated: signal: killed"), "SG304"),
        (Faults(status=500, error="something else"), "SG305"),
        (Faults(garbage=True), "SG305"),
        (Faults(die_after=2), "SG301"),
        (Faults(error_after=1, error="CUDA error: out of memory"), "SG304"),
        (Faults(status=401, error="unauthorized"), "SG308"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_faults_have_their_codes(server: OllamaServer, faults: Faults, code: str) -> None:
    server.faults = faults
    with pytest.raises(ModelError) as caught:
        await chat_model(server.url).chat(HELLO)
    assert caught.value.code == code


async def test_no_server_says_how_to_start_one() -> None:
    with pytest.raises(ModelError) as caught:
        await chat_model("http://127.0.0.1:9").chat(HELLO)
    assert str(caught.value) == (
        "SG301 no Ollama server at http://127.0.0.1:9. Start it with `ollama serve`, or set OLLAMA_HOST to its address"
    )


async def test_a_cancelled_call_ends_at_once(server: OllamaServer) -> None:
    server.faults = Faults(held=threading.Event())
    call = asyncio.create_task(chat_model(server.url).chat(HELLO))
    await soon(lambda: server.requests, "the server was not asked")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert server.faults.held
    server.faults.held.set()


async def test_identity_follows_the_weights(server: OllamaServer) -> None:
    assert (await chat_model(server.url).identity()).startswith("ollama:smollm2:135m@b179c952")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("gpu-box:8080", "http://gpu-box:8080"),
        ("http://gpu-box", "http://gpu-box:80"),
        ("https://ollama.example/api-root/", "https://ollama.example:443/api-root"),
        ("[::1]:11434", "http://[::1]:11434"),
    ],
)
def test_the_servers_address_is_read_as_ollama_reads_it(monkeypatch: pytest.MonkeyPatch, host: str, url: str) -> None:
    monkeypatch.setenv("OLLAMA_HOST", host)
    assert server_url() == url


async def test_thinking_in_its_own_field_is_kept_apart(server: OllamaServer) -> None:
    server.faults = Faults(answers="Yes.", thinks="I wonder.")
    answer = await chat_model(server.url).chat(HELLO)
    assert (answer.text, answer.thinking.strip()) == ("Yes.", "I wonder.")
    assert (answer.prompt_tokens, answer.completion_tokens) == (11, 7)


async def test_a_server_that_counts_nothing_is_charged_the_upper_bound(server: OllamaServer) -> None:
    server.faults = Faults(answers="Yes.", counts=False)
    chain = ModelSet({"slm": ModelConfig(use="ollama:smollm2:135m")})
    answer = await chain.chat(HELLO)
    written = sum(chain.tokens(message.content) for message in HELLO.messages)
    assert (answer.prompt_tokens, answer.completion_tokens, answer.usage) == (written, 12, "bound")
