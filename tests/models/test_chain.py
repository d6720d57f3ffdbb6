"""Fallbacks, breakers, prices, streams, embeddings and minimums, on providers that do what a test tells them."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from sluicegate.errors import ModelError, PromptTooLongError, UnusableAnswerError
from sluicegate.models.chain import ModelSet
from sluicegate.models.config import ModelConfig, Price
from sluicegate.models.embeddings.fingerprint import PROBES
from sluicegate.models.probes import probe_results as probe_results
from sluicegate.models.probes.probe_results import Result
from sluicegate.models.provider import ModelResponse
from sluicegate.services import EmbeddingRequest, Message, ModelRequest, Models

HELLO = [Message("user", "hello")]


class Fake:
    """Answers with its replies in turn, the last one for ever; an exception among them is raised."""

    def __init__(
        self, *replies: str | Exception, delay_s: float = 0.0, turn: float = 0.0, cold: Exception | None = None
    ) -> None:
        self.replies = list(replies) or ["fine"]
        self.asked: list[ModelRequest] = []
        self.embedded: list[str] = []
        self.delay_s = delay_s
        self.turn = turn
        self.cold = cold

    async def chat(self, request: ModelRequest) -> ModelResponse:
        self.asked.append(request)
        await asyncio.sleep(self.delay_s)
        reply = self._next()
        if request.on_token:
            request.on_token(reply[:1])
            if len(reply) > 1 and reply.startswith("!"):
                raise ModelError("SG301", "broke off")
            request.on_token(reply[1:])
        return ModelResponse(reply, 1000, 100, "stop")

    async def embed(self, texts: Sequence[str], *, passages: bool = False) -> list[list[float]]:
        self._next()
        self.embedded += texts
        return [[1.0 - self.turn, self.turn, float(len(text) % 7) / 10] for text in texts]

    async def identity(self) -> str:
        return f"fake-{self.turn}"

    async def warm(self) -> None:
        if self.cold:
            raise self.cold

    def _next(self) -> str:
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        return reply


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def down(code: str = "SG301") -> ModelError:
    if code in (UnusableAnswerError.only, PromptTooLongError.only):
        kind = UnusableAnswerError if code == UnusableAnswerError.only else PromptTooLongError
        return kind("is down", hint="Start it")
    return ModelError(code, "is down", hint="Start it")


def model_set(
    providers: dict[str, Fake], models: dict[str, Any] | None = None, clock: Callable[[], float] | None = None
) -> ModelSet:
    """A set whose role `slm` uses the providers in their order, unless `models` says more."""
    names = list(providers)
    configs = models or {"slm": {"use": names[0], "otherwise": names[1:]}}
    return ModelSet(
        {role: ModelConfig.model_validate(config) for role, config in configs.items()},
        provider_of=lambda config: providers[config.use],
        clock=clock or Clock(),
    )


def test_a_model_set_is_what_nodes_expect() -> None:
    models: Models = model_set({"a:1": Fake()})
    assert models.describe("slm") == "a:1"


async def test_the_first_model_answers() -> None:
    answer = await model_set({"a:1": Fake("yes"), "b:1": Fake("no")}).chat(
        ModelRequest("slm", HELLO, max_tokens=9, seed=3)
    )
    assert (answer.text, answer.model, answer.asked, answer.fallback) == ("yes", "a:1", "a:1", "")


@pytest.mark.parametrize("code", ["SG301", "SG302", "SG303", "SG304", "SG305", "SG306", "SG308", "SG314"])
async def test_the_next_model_stands_in_and_is_named(code: str, caplog: pytest.LogCaptureFixture) -> None:
    answer = await model_set({"a:1": Fake(down(code)), "b:1": Fake("no")}).chat(
        ModelRequest("slm", HELLO, max_tokens=9)
    )
    assert (answer.text, answer.model, answer.asked) == ("no", "b:1", "a:1")
    assert answer.fallback == f"a:1: {code} is down"
    assert caplog.messages == [f"b:1 answered for slm: a:1: {code} is down"]


async def test_the_log_says_once_a_minute_that_a_model_stands_in(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    models = model_set({"a:1": Fake(down()), "b:1": Fake("no")}, clock=clock)
    for _ in range(20):
        assert (await models.chat(ModelRequest("slm", HELLO, max_tokens=9))).fallback
    assert len(caplog.messages) == 1
    clock.now = 61.0
    await models.chat(ModelRequest("slm", HELLO, max_tokens=9))
    assert len(caplog.messages) == 2


async def test_when_all_fail_each_is_named_with_its_reason() -> None:
    with pytest.raises(ModelError) as caught:
        await model_set({"a:1": Fake(down()), "b:1": Fake(down("SG304"))}).chat(
            ModelRequest("slm", HELLO, max_tokens=9)
        )
    assert str(caught.value) == ("SG309 no model of 'slm' answered: a:1: SG301 is down; b:1: SG304 is down. Start it")


async def test_when_all_fail_each_ones_way_out_is_told() -> None:
    missing = ModelError("SG306", "the weights are not installed", hint="Run `sluicegate models pull tiny`")
    with pytest.raises(ModelError) as caught:
        await model_set({"a:1": Fake(down()), "b:1": Fake(missing)}).chat(ModelRequest("slm", HELLO, max_tokens=9))
    assert caught.value.hint == "Start it. Or: Run `sluicegate models pull tiny`"


async def test_a_slow_model_is_left_at_its_timeout() -> None:
    models = {"slm": {"use": "a:1", "otherwise": ["b:1"], "timeout_s": 0.05}}
    answer = await model_set({"a:1": Fake("late", delay_s=5), "b:1": Fake("soon")}, models).chat(
        ModelRequest("slm", HELLO, max_tokens=9)
    )
    assert answer.text == "soon"
    assert answer.fallback == "a:1: SG303 no answer within 0.05 s"


async def test_a_cancelled_call_does_not_fall_back() -> None:
    second = Fake("no")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await model_set({"a:1": Fake(delay_s=5), "b:1": second}).chat(ModelRequest("slm", HELLO, max_tokens=9))
    assert second.asked == []


async def test_the_breaker_opens_tries_once_and_closes() -> None:
    clock = Clock()
    first = Fake(down(), down(), down(), down(), "back")
    models = {"slm": {"use": "a:1", "otherwise": ["b:1"], "breaker_failures": 3, "breaker_s": 30}}
    chain = model_set({"a:1": first, "b:1": Fake("no")}, models, clock)

    async def who() -> str:
        return (await chain.chat(ModelRequest("slm", HELLO, max_tokens=9))).model

    assert [await who() for _ in range(5)] == ["b:1"] * 5
    assert len(first.asked) == 3
    clock.now = 31
    assert await who() == "b:1"  # the one call that tries; it fails and the breaker stays open
    assert await who() == "b:1"
    assert len(first.asked) == 4
    clock.now = 62
    assert [await who(), await who()] == ["a:1", "a:1"]


async def test_loading_has_a_time_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer's time begins when the model is loaded."""
    limits: list[float | None] = []
    real = asyncio.timeout

    def noted(seconds: float | None) -> asyncio.Timeout:
        limits.append(seconds)
        return real(seconds)

    monkeypatch.setattr("sluicegate.models.chain.asyncio.timeout", noted)
    seen: list[tuple[str, list[float | None]]] = []

    class Watched(Fake):
        async def warm(self) -> None:
            seen.append(("loaded", list(limits)))

        async def chat(self, request: ModelRequest) -> ModelResponse:
            seen.append(("asked", list(limits)))
            return await super().chat(request)

    models = {"slm": {"use": "a:1", "timeout_s": 7, "load_timeout_s": 99}}
    await model_set({"a:1": Watched()}, models).chat(ModelRequest("slm", HELLO, max_tokens=9))
    assert seen == [("loaded", [99]), ("asked", [99, 7])]


@pytest.mark.parametrize(
    ("hangs", "limit", "reason"),
    [
        ("warm", "load_timeout_s", "a:1: SG303 not loaded within 0.05 s"),
        ("chat", "timeout_s", "a:1: SG303 no answer within 0.05 s"),
    ],
)
async def test_what_took_too_long_is_said(hangs: str, limit: str, reason: str) -> None:
    slow = Fake("late")

    async def never(*_given: Any) -> None:
        await asyncio.Event().wait()

    setattr(slow, hangs, never)
    models = {"slm": {"use": "a:1", "otherwise": ["b:1"]}}
    models["slm"][limit] = 0.05  # pyright: ignore[reportArgumentType]
    answer = await model_set({"a:1": slow, "b:1": Fake("soon")}, models).chat(ModelRequest("slm", HELLO, max_tokens=9))
    assert (answer.text, answer.fallback) == ("soon", reason)


async def test_a_roles_seed_replaces_the_calls() -> None:
    fake = Fake()
    models = {"slm": {"use": "ollama:1", "options": {"seed": 11}}}
    await model_set({"ollama:1": fake}, models).chat(ModelRequest("slm", HELLO, max_tokens=9, seed=3))
    assert fake.asked[0].seed == 11


async def test_only_one_of_many_calls_tries_a_half_open_model() -> None:
    clock = Clock()
    first = Fake(down(), "back", delay_s=0.01)
    models = {"slm": {"use": "a:1", "otherwise": ["b:1"], "breaker_failures": 1, "breaker_s": 30}}
    chain = model_set({"a:1": first, "b:1": Fake("no")}, models, clock)
    await chain.chat(ModelRequest("slm", HELLO, max_tokens=9))
    clock.now = 31
    answers = await asyncio.gather(*(chain.chat(ModelRequest("slm", HELLO, max_tokens=9)) for _ in range(5)))
    assert sorted(answer.model for answer in answers) == ["a:1", "b:1", "b:1", "b:1", "b:1"]


async def test_a_prompt_that_is_too_long_does_not_open_the_breaker() -> None:
    first = Fake(*[down("SG314")] * 4, "fine")
    chain = model_set({"a:1": first, "b:1": Fake("no")})
    for _ in range(4):
        await chain.chat(ModelRequest("slm", HELLO, max_tokens=9))
    assert (await chain.chat(ModelRequest("slm", HELLO, max_tokens=9))).model == "a:1"


async def test_a_role_in_a_chain_brings_its_own_chain_and_price() -> None:
    models = {
        "llm": {"use": "a:big", "otherwise": ["slm"], "price_per_mtok": {"input": 0.25, "output": 2.0}},
        "slm": {"use": "b:small", "otherwise": ["llm", "c:tiny"]},
    }
    providers = {"a:big": Fake("one", down()), "b:small": Fake(down()), "c:tiny": Fake("tiny")}
    chain = model_set(providers, models)
    assert (await chain.chat(ModelRequest("llm", HELLO, max_tokens=9))).usd == pytest.approx(
        1000 * 0.25e-6 + 100 * 2e-6
    )
    answer = await chain.chat(ModelRequest("llm", HELLO, max_tokens=9))
    assert (answer.model, answer.usd) == ("c:tiny", 0)
    assert chain.price("llm", 1_000_000, 0) == 0.25
    assert chain.price("slm", 1_000_000, 0) == 0


PRICED = {
    "llm": {
        "use": "a:big", "otherwise": ["b:other", "slm"], "timeout_s": 0.05,
        "price_per_mtok": {"input": 0.25, "output": 2.0},
    },
    "other": {"use": "b:other", "price_per_mtok": {"input": 1.0, "output": 4.0}},
    "slm": {"use": "c:tiny"},
}  # fmt: skip


def test_the_bound_is_what_the_whole_chain_may_cost() -> None:
    """Also for a role that is free by itself and has a paid model in its chain."""
    chain = model_set({}, {**PRICED, "slm": {"use": "c:tiny", "otherwise": ["other"]}})
    assert chain.bound("llm", 1_000_000, 0) == 1.25
    assert chain.bound("llm", 0, 1_000_000) == 6.0
    assert (chain.price("slm", 1_000_000, 0), chain.bound("slm", 1_000_000, 0)) == (0.0, 1.0)


def test_the_bound_has_room_for_thinking() -> None:
    price = {"input": 1.0, "output": 4.0}
    models = {"slm": {"use": "ollama:1", "think": "low", "think_tokens": 1000, "price_per_mtok": price}}
    chain = model_set({}, models)
    assert chain.bound("slm", 0, 24) == pytest.approx(1024 * 4e-6)
    assert chain.bound("slm", 1_000_000, 0) == 1.0, "an embedding does not think"


async def test_what_failed_on_the_way_and_cost_money_is_counted() -> None:
    """A call that timed out may have been billed in full; answers that did not fit were."""
    slow = model_set({"a:big": Fake(delay_s=1), "b:other": Fake("fine"), "c:tiny": Fake()}, PRICED)
    answer = await slow.chat(ModelRequest("llm", HELLO, max_tokens=9))
    cut = (slow.tokens("hello") * 0.25 + 9 * 2.0) / 1e6
    assert answer.model == "b:other"
    assert answer.usd == pytest.approx(cut + (1000 * 1.0 + 100 * 4.0) / 1e6)
    wrong = model_set({"a:big": Fake("no JSON"), "b:other": Fake(down()), "c:tiny": Fake(down())}, PRICED)
    with pytest.raises(ModelError) as caught:
        await wrong.chat(ModelRequest("llm", HELLO, max_tokens=9, schema=SCHEMA))
    assert caught.value.usd == pytest.approx(2 * (1000 * 0.25 + 100 * 2.0) / 1e6)


async def test_embeddings_name_their_model_and_their_price() -> None:
    models = {
        "embedder": {"use": "a:big", "otherwise": ["c:tiny"], "price_per_mtok": {"input": 2.0, "output": 0.0}},
        "slm": {"use": "c:tiny"},
    }
    chain = model_set({"a:big": Fake("", "", down()), "c:tiny": Fake()}, models)
    paid = await chain.embed(EmbeddingRequest("embedder", ["one"]))
    assert (paid.model, paid.usd) == ("a:big", pytest.approx(chain.tokens("one") * 2e-6))
    free = await chain.embed(EmbeddingRequest("embedder", ["one"]))
    assert (free.model, free.usd) == ("c:tiny", 0.0)
    assert free.fallback.startswith("a:big")


def test_cached_tokens_have_their_own_price() -> None:
    assert Price(input=1, output=2, cached_input=0.1).usd(1_000_000, 0, 500_000) == pytest.approx(0.55)


async def test_an_unknown_role_gets_the_nearest() -> None:
    with pytest.raises(ModelError) as caught:
        await model_set({"a:1": Fake()}).chat(ModelRequest("slmm", HELLO, max_tokens=9))
    assert (caught.value.code, caught.value.hint) == ("SG308", "Did you mean 'slm'? It has: slm")


async def test_a_broken_stream_is_not_mixed_with_the_next() -> None:
    pieces: list[str] = []
    answer = await model_set({"a:1": Fake("!half"), "b:1": Fake("whole")}).chat(
        ModelRequest("slm", HELLO, max_tokens=9, on_token=pieces.append)
    )
    assert answer.text == "whole"
    assert pieces == ["!"]


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


async def test_a_structured_answer_is_validated_and_tried_once_more() -> None:
    fake = Fake('{"n": "three"}', '```json\n{"n": 3}\n```')
    answer = await model_set({"a:1": fake}).chat(ModelRequest("slm", HELLO, max_tokens=9, schema=SCHEMA))
    assert answer.parsed == {"n": 3}
    assert answer.prompt_tokens == 2000
    assert fake.asked[1].messages[-1].content == (
        "That answer cannot be used: $.n: 'three' is not of type 'integer'. "
        "Answer again, with JSON that fits the schema."
    )


async def test_two_unusable_answers_are_an_error() -> None:
    fake = Fake("no JSON at all")
    with pytest.raises(ModelError, match="SG305 the answer does not fit its schema: it is not JSON"):
        await model_set({"a:1": fake}).chat(ModelRequest("slm", HELLO, max_tokens=9, schema=SCHEMA))
    assert len(fake.asked) == 2


async def test_embeddings_are_all_of_one_model() -> None:
    first, second = Fake("x", down()), Fake(turn=0.5)
    chain = model_set({"a:1": first, "b:1": second})
    made = await chain.embed(EmbeddingRequest("slm", [f"text {n}" for n in range(100)]))
    assert made.model == "b:1"
    assert len(made.vectors) == 100
    assert all(vector[1] == 0.5 for vector in made.vectors)
    assert made.fallback == "a:1: SG301 is down"


async def test_only_an_embedder_like_the_one_that_was_fitted_answers() -> None:
    chain = model_set({"a:1": Fake(turn=0.5), "b:1": Fake()})
    fitted = await model_set({"b:1": Fake()}).fingerprint("slm")
    made = await chain.embed(EmbeddingRequest("slm", ["x"], like=fitted))
    assert made.model == "b:1"
    assert "SG312" in made.fallback
    with pytest.raises(ModelError, match="SG312"):
        await model_set({"a:1": Fake(turn=0.5)}).embed(EmbeddingRequest("slm", ["x"], like=fitted))


async def test_remembered_texts_are_not_embedded_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("SLUICEGATE_CACHE", str(tmp_path))
    seen: list[tuple[int, int]] = []
    first = Fake()
    made = await model_set({"a:1": first}).embed(EmbeddingRequest("slm", ["one", "two", "one"], remember=True))
    again = Fake()
    chain = model_set({"a:1": again})
    repeated = await chain.embed(
        EmbeddingRequest(
            "slm", ["two", "three", "one"], remember=True, on_progress=lambda done, total: seen.append((done, total))
        )
    )
    assert [text for text in first.embedded if text not in PROBES] == ["one", "two"]
    assert [text for text in again.embedded if text not in PROBES] == ["three"]
    assert repeated.vectors[2] == pytest.approx(made.vectors[0], abs=1e-6)
    assert seen == [(3, 3)]
    # other weights have other vectors
    other = Fake(turn=0.5)
    await model_set({"a:1": other}).embed(EmbeddingRequest("slm", ["one"], remember=True))
    assert "one" in other.embedded


class Digested(Fake):
    """A server that says which weights it serves."""

    weights = "1"

    async def identity(self) -> str:
        return f"ollama:e@{self.weights}"


async def test_a_servers_embeddings_are_kept_as_long_as_its_weights() -> None:
    server = Digested()
    chain = model_set({"ollama:e": server})
    for _ in range(2):
        await chain.embed(EmbeddingRequest("slm", ["one", "two", "one"]))
    assert [text for text in server.embedded if text not in PROBES] == ["one", "two"]
    server.weights = "2"
    await chain.embed(EmbeddingRequest("slm", ["one"]))
    assert [text for text in server.embedded if text not in PROBES] == ["one", "two", "one"]


async def test_a_server_that_does_not_say_its_weights_is_asked_each_time() -> None:
    server = Fake()
    chain = model_set({"a:1": server})
    for _ in range(2):
        await chain.embed(EmbeddingRequest("slm", ["one"]))
    assert [text for text in server.embedded if text not in PROBES] == ["one", "one"]


async def test_a_corrupt_memory_of_embeddings_is_started_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("SLUICEGATE_CACHE", str(tmp_path))
    (tmp_path / "embeddings.sqlite").write_bytes(b"not a database" * 100)
    made = await model_set({"a:1": Fake()}).embed(EmbeddingRequest("slm", ["one"], remember=True))
    assert len(made.vectors) == 1


def measured(right: int) -> Result:
    return Result("review", right, 22, 1.0, "probe", datetime.now(UTC).isoformat())


async def test_a_model_below_its_minimum_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    probe_results.keep("fake-0.0", measured(12))
    probe_results.keep("fake-0.5", measured(20))
    models = {"judge": {"use": "a:1", "otherwise": ["b:1"], "minimum": {"review": 0.8}}}
    chain = model_set({"a:1": Fake("small"), "b:1": Fake("big", turn=0.5)}, models)
    answer = await chain.chat(ModelRequest("judge", HELLO, max_tokens=9))
    assert answer.text == "big"
    assert answer.fallback == "a:1: SG315 its probe is below the minimum of judge: review 0.55 < 0.8"
    assert probe_results.admitted("fake-0.0", "review", 0.8) is False
    assert probe_results.admitted("fake-0.5", "review", 0.8) is True
    assert probe_results.admitted("never", "review", 0.8) is None


async def test_a_model_that_was_never_probed_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    models = {"judge": {"use": "a:1", "minimum": {"review": 0.8}}}
    chain = model_set({"a:1": Fake()}, models)
    await chain.chat(ModelRequest("judge", HELLO, max_tokens=9))
    await chain.chat(ModelRequest("judge", HELLO, max_tokens=9))
    assert caplog.messages == ["a:1 serves as judge without a probe of review: run `sluicegate models probe`"]


async def test_warming_says_nothing_when_a_model_is_missing() -> None:
    thread = model_set({"a:1": Fake(cold=down())}).warm()
    await asyncio.to_thread(thread.join, 5)
    assert not thread.is_alive()


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", "Hello there, how are you?", "密码重置" * 50, "x = {'a': [1, 2, 3]}" * 20])
def test_tokens_are_estimated_from_above(text: str) -> None:
    from sluicegate.models.embedded import weights
    from sluicegate.models.embedded.embedded import _runtime  # pyright: ignore[reportPrivateUsage]

    weights.ensure("smollm2-135m")
    runtime = _runtime("smollm2-135m", None, None)
    count = len(runtime.executor.submit(runtime.post, "/tokenize", {"content": text}).result()["tokens"])
    assert count <= model_set({"a:1": Fake()}).tokens(text)


class Unmetered(Fake):
    """Says nothing of tokens, as some servers do."""

    async def chat(self, request: ModelRequest) -> ModelResponse:
        return ModelResponse((await super().chat(request)).text, 0, 0, "stop")


async def test_what_says_nothing_of_tokens_is_charged_its_upper_bound() -> None:
    chain = model_set({"a:big": Unmetered("fine"), "b:other": Fake(), "c:tiny": Fake()}, PRICED)
    answer = await chain.chat(ModelRequest("llm", HELLO, max_tokens=9))
    assert answer.usage == "bound"
    assert (answer.prompt_tokens, answer.completion_tokens) == (chain.tokens("hello"), 9)
    assert answer.usd == pytest.approx((chain.tokens("hello") * 0.25 + 9 * 2.0) / 1e6)
    told = await model_set({"a:big": Fake(), "b:other": Fake(), "c:tiny": Fake()}, PRICED).chat(
        ModelRequest("llm", HELLO, max_tokens=9)
    )
    assert told.usage == "reported"


async def test_two_answers_without_usage_are_charged_two_bounds() -> None:
    chain = model_set({"a:big": Unmetered("no", '{"n": 1}'), "b:other": Fake(), "c:tiny": Fake()}, PRICED)
    answer = await chain.chat(ModelRequest("llm", HELLO, max_tokens=9, schema=SCHEMA))
    assert (answer.parsed, answer.completion_tokens, answer.usage) == ({"n": 1}, 18, "bound")


async def test_an_answer_that_does_not_fit_goes_to_the_next_model() -> None:
    answer = await model_set({"a:1": Fake("no JSON"), "b:1": Fake('{"n": 2}')}).chat(
        ModelRequest("slm", HELLO, max_tokens=9, schema=SCHEMA)
    )
    assert (answer.parsed, answer.model) == ({"n": 2}, "b:1")
    assert answer.fallback.startswith("a:1: SG305 the answer does not fit its schema")


async def test_thinking_is_no_part_of_an_answer_nor_of_its_json() -> None:
    answer = await model_set({"a:1": Fake('<think>{"n": 1}?</think>{"n": 2}')}).chat(
        ModelRequest("slm", HELLO, max_tokens=9, schema=SCHEMA)
    )
    assert (answer.text, answer.parsed, answer.thinking) == ('{"n": 2}', {"n": 2}, '{"n": 1}?')
