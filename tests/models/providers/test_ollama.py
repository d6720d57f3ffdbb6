"""The provider `ollama:` over real HTTP. Tests with the `address` fixture run against a real server too."""

import asyncio
import threading
from dataclasses import replace
from typing import Any, Literal

import pytest

from sluicegate.errors import ModelError
from sluicegate.models.chain import ModelSet
from sluicegate.models.config import ModelConfig
from sluicegate.models.embedded.embedded import Embedded
from sluicegate.models.embeddings.fingerprint import EARLIER_PROBES, PROBES, fingerprint_of, same_embedder
from sluicegate.models.providers.ollama import Ollama, server_url
from sluicegate.services import EmbeddingRequest, Message, ModelRequest
from tests.support.ollama_api import DEFAULTS, About
from tests.support.ollama_real import RealOllama
from tests.support.ollama_server import DEATHS, Faults, OllamaServer
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
    """The loopback server, and a real one where there is one."""
    return request.getfixturevalue("server" if request.param == "loopback" else "real_ollama").url


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


async def test_a_text_that_ollama_reads_in_a_way_of_its_own_shows_in_the_fingerprint(address: str) -> None:
    """The stand-in embeds as the real server does: the figures are the real one's."""
    ollama, embedded = Ollama(ModelConfig(use="ollama:all-minilm", base_url=address)), Embedded("all-minilm-l6-v2")
    theirs, ours = await ollama.embed(PROBES), await embedded.embed(PROBES)
    cosines = [sum(x * y for x, y in zip(one, other, strict=True)) for one, other in zip(theirs, ours, strict=True)]
    assert [round(cosine, 2) for cosine in cosines] == pytest.approx(
        [1.0, 1.0, 0.10, 0.42, 0.96, 0.78, 0.28, 0.78, 0.54, 1.0, 0.89, 1.0], abs=0.02
    )
    assert not same_embedder(fingerprint_of(theirs), fingerprint_of(ours))
    assert same_embedder(fingerprint_of(theirs[:EARLIER_PROBES]), fingerprint_of(ours[:EARLIER_PROBES]))


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


SET: dict[str, Any] = {
    "top_k": 7, "top_p": 0.5, "min_p": 0.1, "typical_p": 0.6, "repeat_penalty": 1.3, "repeat_last_n": 9,
    "presence_penalty": 0.2, "frequency_penalty": 0.3, "num_thread": 2,
}  # fmt: skip
"""Every option of a role, each unlike the server's default and unlike ours."""


async def test_what_is_sent_leaves_nothing_to_the_servers_defaults(server: OllamaServer) -> None:
    """What is left out is the server's default, or the Modelfile's parameter."""
    server.about["smollm2:135m"] = About(parameters={"presence_penalty": 1.5, "temperature": 1.0, "num_predict": 3})
    sent = replace(HELLO, max_tokens=2, seed=7)
    for settings in ({}, SET):
        await chat_model(server.url, context=2048, keep_alive="5m", options=settings).chat(sent)
    ours, set_ = server.options
    call = {"num_ctx": 2048, "num_predict": 2, "temperature": 0.0, "seed": 7}
    decided_by_server = {"num_keep", "num_batch", "num_gpu", "stop"}
    assert {key: set_[key] for key in set_ if key not in decided_by_server} == {**SET, **call}
    assert ours == {
        **DEFAULTS,
        **call,
        "top_k": 40,
        "top_p": 0.95,
        "min_p": 0.05,
        "repeat_penalty": 1.0,
    }
    body = server.requests[-1][1]
    assert body["keep_alive"] == "5m"
    assert (body["truncate"], body["shift"], body["think"]) == (False, False, False)


async def test_a_model_is_loaded_with_the_options_of_its_calls(server: OllamaServer) -> None:
    """Others would have the server load it a second time."""
    model = chat_model(server.url, context=1024, keep_alive=300, options={"num_thread": 2})
    await model.warm()
    await model.chat(replace(HELLO, max_tokens=1))
    (load,) = [body for path, body in server.requests if path == "/api/generate"]
    (chat,) = [body for path, body in server.requests if path == "/api/chat"]
    assert load["options"] == {"num_ctx": 1024, "num_thread": 2}
    assert load["options"].items() <= chat["options"].items()
    assert load["keep_alive"] == chat["keep_alive"] == 300


async def test_a_calls_stop_keeps_those_of_the_modelfile(server: OllamaServer) -> None:
    server.about["smollm2:135m"] = About(parameters={"stop": ["<|im_end|>", 'a "b"'], "top_k": 3})
    model = chat_model(server.url)
    for stop in ((), ("x",)):
        await model.chat(replace(HELLO, max_tokens=1, stop=stop))
    assert [options["stop"] for options in server.options] == [["<|im_end|>", 'a "b"'], ["<|im_end|>", 'a "b"', "x"]]


COPY = ModelRequest(
    "slm",
    [
        Message("system", "Do as the user says."),  # without one, templates add different ones
        Message("user", "Repeat these words exactly: red red red red red red red red red red red red"),
    ],
    max_tokens=24,
)


async def test_copying_from_a_source_is_not_penalised(address: str) -> None:
    """As the server is, without `repeat_penalty` the words of the prompt become unlikely, at temperature 0 too."""
    by_default = (await chat_model(address).chat(COPY)).text
    penalised = (await chat_model(address, options={"repeat_penalty": 1.1}).chat(COPY)).text
    embedded = (await Embedded("smollm2-135m").chat(COPY)).text
    assert by_default.count("red") == embedded.count("red") > penalised.count("red")


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
        (Faults(runner_dies="loading"), "SG304"),
        (Faults(runner_dies="reading"), "SG304"),
        (Faults(runner_dies="answering"), "SG304"),
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


@pytest.mark.parametrize("at", ["loading", "reading", "answering"])
async def test_a_runner_that_dies_opens_the_breaker_and_the_next_model_answers(
    server: OllamaServer, at: Literal["loading", "reading", "answering"]
) -> None:
    use = {"use": "ollama:smollm2:135m", "otherwise": ["embedded:smollm2-135m"], "breaker_failures": 2}
    models = ModelSet({"slm": ModelConfig.model_validate(use)})
    server.faults = Faults(runner_dies=at)
    answers = [await models.chat(replace(HELLO, max_tokens=2)) for _ in range(2)]
    asked = len(server.requests)
    answers.append(await models.chat(replace(HELLO, max_tokens=2)))
    assert len(server.requests) == asked, "an open breaker asks for nothing"
    assert {answer.model for answer in answers} == {"embedded:smollm2-135m"}
    assert ["circuit breaker open" in answer.fallback for answer in answers] == [False, False, True]
    assert all("SG304 ollama:smollm2:135m died at work" in answer.fallback for answer in answers[:2])


async def test_a_runner_that_dies_embedding_is_a_fault_though_the_server_says_400(server: OllamaServer) -> None:
    server.faults = Faults(runner_dies="reading")
    with pytest.raises(ModelError) as caught:
        await Ollama(ModelConfig(use="ollama:all-minilm")).embed(["a text"])
    assert caught.value.code == "SG304"


@pytest.mark.ollama
async def test_the_death_of_a_real_runner_is_seen_for_what_it_is(real_ollama: RealOllama) -> None:
    if not real_ollama.process:
        pytest.skip("not a server of ours: no process of it is killed")

    def kill(_piece: str) -> None:
        real_ollama.kill_runners()

    # a list that the grammar does not let end: a short answer might be complete before its runner is dead
    long = {"type": "array", "items": {"enum": ["water"]}, "minItems": 300}
    with pytest.raises(ModelError) as caught:
        await chat_model(real_ollama.url).chat(replace(HELLO, schema=long, max_tokens=1000, on_token=kill))
    assert (caught.value.code, DEATHS["answering"] in caught.value.message) == ("SG304", True)
    answer = await chat_model(real_ollama.url).chat(replace(HELLO, max_tokens=2))
    assert answer.text, "the server has started another"


async def test_chatting_with_an_embedding_model_has_a_hint(address: str) -> None:
    for model in (Ollama(ModelConfig(use="ollama:all-minilm", base_url=address)), Embedded("all-minilm-l6-v2")):
        with pytest.raises(ModelError) as caught:
            await model.chat(HELLO)
        assert caught.value.message.endswith("is an embedding model; it cannot chat")
        assert (caught.value.code, caught.value.hint) == ("SG305", "Name a chat model for this role")


async def test_an_embedding_model_is_loaded_without_a_text(address: str) -> None:
    await Ollama(ModelConfig(use="ollama:all-minilm", base_url=address)).warm()


async def test_texts_are_embedded_in_one_request(server: OllamaServer) -> None:
    chain = ModelSet({"embedder": ModelConfig(use="ollama:all-minilm")})
    texts = [f"text number {number}" for number in range(100)]

    def asked() -> list[int]:
        return [len(body["input"]) for path, body in server.requests if path == "/api/embed" and body["input"]]

    await chain.embed(EmbeddingRequest("embedder", texts))
    assert asked() == [len(PROBES), 64, 36]
    await chain.embed(EmbeddingRequest("embedder", texts[50:]))
    assert len(asked()) == 3, "known by the weights' digest"


async def test_one_long_text_does_not_divide_its_batch_into_single_texts(server: OllamaServer) -> None:
    model = Ollama(ModelConfig(use="ollama:all-minilm"))
    texts = [f"text number {number}" for number in range(63)]
    texts.insert(40, "The printer is out of paper. " * 120)
    vectors = await model.embed(texts)
    asked = [body["input"] for path, body in server.requests if path == "/api/embed"]
    alone = [batch for batch in asked if len(batch) == 1 and batch[0].startswith("text number")]
    assert len(alone) <= 1
    assert vectors[0] == pytest.approx((await model.embed(texts[:1]))[0], abs=1e-3)


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


GPT_OSS = About(family="gptoss", thinks="always", parser="harmony")
QWEN = About(family="qwen3", thinks="when told")
QWEN_35 = About(family="qwen35", thinks="when told", parser="qwen3.5")
CANNOT = About()


@pytest.mark.parametrize(
    ("about", "think", "thoughts"),
    [
        (CANNOT, False, 0),
        (QWEN, False, 0),
        (QWEN, True, 6),
        (QWEN, "low", 3),
        (QWEN, "high", 9),
        (QWEN_35, False, 0),
        (QWEN_35, "medium", 6),
        (GPT_OSS, "low", 3),
        (GPT_OSS, "high", 9),
    ],
)
async def test_a_role_says_how_much_its_model_thinks(
    server: OllamaServer, about: About, think: bool | str, thoughts: int
) -> None:
    """Thinking counts as tokens of the answer at the server, so it has room besides the call's `max_tokens`."""
    server.about["smollm2:135m"] = about
    answer = await chat_model(server.url, think=think, think_tokens=20).chat(replace(HELLO, max_tokens=2))
    assert len(answer.thinking.split()) == thoughts
    assert answer.text
    assert answer.completion_tokens > thoughts
    assert server.options[0]["num_predict"] == (22 if think else 2)


@pytest.mark.parametrize(
    ("about", "think", "hint"),
    [(GPT_OSS, False, "Set `think: low` for its role"), (CANNOT, "low", "Remove `think` from its role")],
)
async def test_what_a_model_cannot_do_is_said_before_it_is_asked(
    server: OllamaServer, about: About, think: bool | str, hint: str
) -> None:
    server.about["smollm2:135m"] = about
    with pytest.raises(ModelError) as caught:
        await chat_model(server.url, think=think).chat(HELLO)
    assert (caught.value.code, caught.value.hint) == ("SG308", hint)
    assert not [path for path, _ in server.requests if path == "/api/chat"]


async def test_an_answer_that_was_all_thinking_is_cut_off(server: OllamaServer) -> None:
    server.about["smollm2:135m"] = GPT_OSS
    answer = await chat_model(server.url, think="high", think_tokens=0).chat(replace(HELLO, max_tokens=4))
    assert (answer.text, answer.finish) == ("", "length")
    assert len(answer.thinking.split()) == 4


@pytest.mark.parametrize(("about", "think"), [(GPT_OSS, "low"), (QWEN, False), (QWEN_35, "low")])
async def test_a_schema_holds_after_thinking(server: OllamaServer, about: About, think: bool | str) -> None:
    server.about["smollm2:135m"] = about
    chain = ModelSet({"slm": ModelConfig(use="ollama:smollm2:135m", think=think, timeout_s=300)})
    answer = await chain.chat(replace(HELLO, max_tokens=30, schema=SCHEMA))
    assert answer.parsed["answer"] in ("yes", "no")


async def test_a_schema_that_the_server_does_not_apply_is_checked_nevertheless(server: OllamaServer) -> None:
    """A model with a parser of its own is constrained by the server only after it has thought."""
    server.about["smollm2:135m"] = QWEN_35
    chain = ModelSet({"slm": ModelConfig(use="ollama:smollm2:135m", timeout_s=300)})
    with pytest.raises(ModelError, match="SG305 the answer does not fit its schema"):
        await chain.chat(replace(HELLO, max_tokens=8, schema=SCHEMA))
