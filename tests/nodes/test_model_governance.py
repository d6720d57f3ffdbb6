"""Every model call of a run on one way: policies, kill switch, reservation, call, settling; whoever asks."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import ModelError, StoppedError
from sluicegate.graphs.runtime.slm_reviewer import reviewer
from sluicegate.models.chain import ModelSet
from sluicegate.models.config import ModelConfig, Price
from sluicegate.models.provider import ModelResponse
from sluicegate.nodes.kind import Node
from sluicegate.nodes.kinds.answering import SLM_ANSWER, SlmAnswer
from sluicegate.nodes.kinds.classify import CLASSIFY
from sluicegate.nodes.kinds.output_check import OUTPUT_CHECK, OutputCheck
from sluicegate.nodes.kinds.retrieve import RETRIEVE, Retrieve
from sluicegate.nodes.kinds.tag import TAG, Tag, TagWords
from sluicegate.nodes.model_governance import ModelsOfStep, governed
from sluicegate.observe.tracing.instrument import TracedModels
from sluicegate.policies.cedar.engine import load_engine
from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.guards.config import GuardConfig
from sluicegate.policies.guards.set import GuardSet
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.policies.ledger.ledger import SqliteLedger, micros
from sluicegate.routing.intent.slm import LabelDecoder, SlmRouter
from sluicegate.services import (
    Completion,
    EmbeddingRequest,
    Embeddings,
    IntentFacts,
    Message,
    ModelRequest,
    Models,
    Services,
    WorkflowFacts,
)
from sluicegate.state import DocumentRef, State
from tests.support.answering import TEXTS, document, state
from tests.support.fakes import INTENTS, FakeLedger, FakeModels, FakePolicy, FakeRetriever, FakeTracer, services
from tests.support.label_decoding import Letters, trusted

FACTS = WorkflowFacts("test", "1", "d", {**INTENTS, "other": IntentFacts("out-of-scope", "high", 20)})
HELLO = (Message("user", "Hello"),)


class Searching(FakeRetriever):
    """A retriever that embeds the question, as the real one does."""

    def __init__(self, models: Models) -> None:
        super().__init__()
        self._models = models

    async def search(self, index: str, query: str, principal: Any, *, k: int) -> list[DocumentRef]:
        await self._models.embed(EmbeddingRequest("embedder", [query], like="fake"))
        return await super().search(index, query, principal, k=k)


def embedding_router(asked: Models) -> Any:
    class Embedding:
        async def classify(self, text: str) -> Any:
            await asked.embed(EmbeddingRequest("embedder", [text]))
            raise AssertionError("the test stops the embedder")

    return Embedding()


async def admitted() -> bool:
    return True


def standing(models: FakeModels, switch: KillSwitch, tmp_path: Path, **budget: Any) -> Services:
    """Services whose router, retriever and guards ask models themselves, under a real ledger and real policies."""
    asked = ModelsOfStep(models)
    return services(
        workflow=FACTS,
        models=models,
        policy=load_engine(switch=switch),
        router=embedding_router(asked),
        retriever=Searching(asked),
        guards=GuardSet(GuardConfig(), review=reviewer(asked), admitted=admitted),
        ledger=SqliteLedger(BudgetConfig(**budget), tmp_path / "ledger.sqlite", switch=switch),
    )


@pytest.fixture
def switch(tmp_path: Path) -> KillSwitch:
    return KillSwitch(tmp_path / "switches.json")


ROLES: list[tuple[str, Node, str]] = [
    ("router", CLASSIFY.make("classify", None), "embedder"),
    ("retriever", RETRIEVE.make("facts", Retrieve(index="kb")), "embedder"),
    ("quoting", SLM_ANSWER.make("answer", SlmAnswer(prompt="answer", style="quote")), "embedder"),
    ("answer", SLM_ANSWER.make("answer", SlmAnswer(prompt="answer")), "slm"),
    ("review", OUTPUT_CHECK.make("check", OutputCheck(guards=["slm-review"])), "slm"),
    ("tag", TAG.make("mark", Tag(tags={"urgent": TagWords()})), "embedder"),
]


def drafted(given: Services) -> State:
    draft: Any = {"text": "A draft.", "citations": []}
    return state(replace(given, retriever=FakeRetriever(TEXTS)), documents=[], answer=draft)


def at(given: Services, name: str) -> tuple[State, Services]:
    if name == "quoting":
        given = replace(given, retriever=FakeRetriever(TEXTS))
        documents: Any = [{**document(1), "classification": "public"}]
        return state(given, documents=documents), given
    return drafted(given), given


@pytest.mark.parametrize(("name", "node", "role"), ROLES, ids=[name for name, _, _ in ROLES])
async def test_whoever_asks_a_model_that_is_switched_off_gets_no_answer(
    name: str, node: Node, role: str, switch: KillSwitch, tmp_path: Path
) -> None:
    models = FakeModels(parsed={"proper": "yes"})
    standing_, given = at(standing(models, switch, tmp_path), name)
    switch.off(f"model:fake:{role}", reason="leaks", by="lea")
    update = await governed(node, standing_, given)
    assert update["spend"]["stopped_by"] == f"SG502 model:fake:{role} is switched off: leaks"
    assert (models.asked, models.embedded) == ([], [])


@pytest.mark.parametrize("off", ["workflow:test", "intent:question"])
@pytest.mark.parametrize(("name", "node", "role"), ROLES[1:], ids=[name for name, _, _ in ROLES[1:]])
async def test_a_workflow_or_an_intent_that_is_off_asks_no_model(
    name: str, node: Node, role: str, off: str, switch: KillSwitch, tmp_path: Path
) -> None:
    models = FakeModels(parsed={"proper": "yes"})
    standing_, given = at(standing(models, switch, tmp_path), name)
    intent: Any = {"label": "question", "risk": "low", "max_tokens": 60}
    switch.off(off, reason="leaks", by="lea")
    update = await governed(node, {**standing_, "intent": intent}, given)
    assert update["spend"]["stopped_by"] == f"SG502 {off} is switched off: leaks"
    assert (models.asked, models.embedded) == ([], [])


@pytest.mark.parametrize(("name", "node", "role"), ROLES, ids=[name for name, _, _ in ROLES])
async def test_the_policies_are_asked_for_each_role(
    name: str, node: Node, role: str, switch: KillSwitch, tmp_path: Path
) -> None:
    models = FakeModels(parsed={"proper": "yes"})
    policy = FakePolicy({"use_model"})
    standing_, given = at(replace(standing(models, switch, tmp_path), policy=policy), name)
    update = await governed(node, standing_, given)
    assert update["spend"]["stopped_by"] == f"SG202 no: the test says no (fake:{role})"
    assert [resource["id"] for _, _, resource, _ in policy.asked] == [f"fake:{role}"]
    assert (models.asked, models.embedded) == ([], [])


async def test_without_an_embedder_a_request_is_out_of_scope_and_finds_no_facts(
    switch: KillSwitch, tmp_path: Path
) -> None:
    given = standing(FakeModels(), switch, tmp_path)
    switch.off("model:*", reason="leaks", by="lea")
    update = await governed(CLASSIFY.make("classify", None), drafted(given), given)
    assert (update["intent"]["label"], update["intent"]["confidence"], update["intent"]["by"]) == (
        "other", 0.0, "stopped",
    )  # fmt: skip
    assert (await governed(ROLES[1][1], drafted(given), given))["documents"] == []
    bare = replace(given, workflow=replace(FACTS, intents=INTENTS))
    with pytest.raises(StoppedError, match="SG502"):
        await governed(CLASSIFY.make("classify", None), drafted(bare), bare)


async def test_a_review_that_may_not_be_asked_is_a_failed_check(switch: KillSwitch, tmp_path: Path) -> None:
    given = standing(FakeModels(parsed={"proper": "yes"}), switch, tmp_path)
    node = ROLES[4][1]
    passed = await governed(node, drafted(given), given)
    assert not passed["checks"]["failed"]
    assert passed["spend"]["slm_calls"] == 1
    switch.off("model:fake:slm", reason="leaks", by="lea")
    failed = await governed(node, drafted(given), given)
    assert failed["checks"]["failed"]
    assert "may not be called: SG502" in failed["checks"]["results"][0]["reason"]


async def test_a_router_that_asks_the_small_model_is_booked(switch: KillSwitch, tmp_path: Path) -> None:
    models = Letters({})
    given = standing(FakeModels(), switch, tmp_path, per_run_tokens=10_000)
    decoder = LabelDecoder(ModelsOfStep(FakeModels()), "slm")
    given = replace(given, models=models, router=SlmRouter(decoder, ["question", "report"], admitted=trusted))
    update = await governed(CLASSIFY.make("classify", None), drafted(given), given)
    # three content-free requests for the prior, then the request itself
    assert update["spend"]["slm_calls"] == 4
    (row,) = given.ledger.spending(by="model")  # type: ignore[attr-defined]
    assert (row["model"], row["calls"], row["tokens"]) == ("fake:slm", 4, 8)
    small = replace(given, ledger=SqliteLedger(BudgetConfig(per_run_tokens=1), tmp_path / "other.sqlite"))
    stopped = await governed(CLASSIFY.make("classify", None), drafted(small), small)
    assert stopped["spend"]["stopped_by"].startswith("SG501 per_run_tokens")
    assert stopped["intent"]["label"] == "other"
    assert len(models.asked) == 4


async def test_a_free_embedding_is_not_reserved_and_leaves_no_spend() -> None:
    given = services(retriever=Searching(ModelsOfStep(FakeModels())))
    update = await governed(ROLES[1][1], drafted(given), given)
    assert "spend" not in update
    assert given.ledger.log == []  # type: ignore[attr-defined]


async def test_a_paid_embedding_is_reserved_settled_and_stopped_at_the_cap(switch: KillSwitch, tmp_path: Path) -> None:
    models = FakeModels(embed_usd=0.004)
    given = standing(models, switch, tmp_path, per_day_usd=0.01)
    spends = [await governed(ROLES[1][1], drafted(given), given) for _ in range(3)]
    assert [update["spend"]["stopped"] for update in spends] == [False, False, True]
    assert spends[0]["spend"]["usd"] == 0.004
    assert spends[2]["documents"] == []
    (row,) = given.ledger.spending(by="model")  # type: ignore[attr-defined]
    assert (row["model"], micros(row["usd"]), row["held_usd"]) == ("fake:embedder", 8000, 0.0)
    assert len(models.embedded) == 2


class Unmetered:
    """A provider that does not say how many tokens it counted."""

    asked = 0

    async def warm(self) -> None: ...

    async def chat(self, request: ModelRequest) -> ModelResponse:
        self.asked += 1
        return ModelResponse("<think>Which link?</think>Open the portal.", 0, 0, "stop")


async def test_calls_without_usage_fill_the_day_s_cap(switch: KillSwitch, tmp_path: Path) -> None:
    """And the trace says of each that its upper bound was charged, and keeps its thinking apart."""
    provider, tracer = Unmetered(), FakeTracer()
    price = Price(input=1.0, output=2.0)
    chain = ModelSet(
        {"slm": ModelConfig(use="openai:gpt-5-mini", price_per_mtok=price)},
        provider_of=lambda _config: provider,  # type: ignore[reportArgumentType]
    )
    written = chain.tokens("Hello")
    bound = price.usd(written, 100)
    traced_models: Any = TracedModels(chain, tracer)
    given = standing(traced_models, switch, tmp_path, per_day_usd=2.5 * bound)

    async def node(state: State, services: Services) -> dict[str, Any]:
        await services.models.chat(ModelRequest("slm", HELLO, max_tokens=100))
        return {}

    for _ in range(2):
        spend = (await governed(node, drafted(given), given))["spend"]
        assert (spend["usd"], spend["prompt_tokens"], spend["completion_tokens"]) == (
            pytest.approx(bound, abs=1e-6), written, 100,
        )  # fmt: skip
    with pytest.raises(StoppedError, match="per_day_usd"):
        await governed(node, drafted(given), given)
    assert provider.asked == 2
    for span in tracer.spans[:2]:
        assert (span.attributes["usage"], span.attributes["usd"]) == ("bound", pytest.approx(bound))
        assert (span.attributes["output"], span.attributes["thinking"]) == ("Open the portal.", "Which link?")


class Slow(FakeModels):
    """Answers when it is told to, and never otherwise."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.begun, self.cut = asyncio.Event(), False

    async def hang(self) -> Any:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cut = True
            raise

    async def chat(self, request: ModelRequest) -> Completion:
        return await self.hang()

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        return await self.hang()


CALLS: dict[str, Callable[[Models], Any]] = {
    "chat": lambda models: models.chat(ModelRequest("llm", HELLO, max_tokens=10)),
    "embed": lambda models: models.embed(EmbeddingRequest("embedder", ["Hello"])),
}


@pytest.mark.parametrize("kind", CALLS)
async def test_a_call_under_way_is_cut(kind: str, switch: KillSwitch, tmp_path: Path) -> None:
    """What a paid call may have cost by then is booked in full; nobody will ever say."""
    models = Slow()
    given = standing(models, switch, tmp_path, per_day_usd=1.0)

    async def node(state: State, services: Services) -> dict[str, Any]:
        await CALLS[kind](services.models)
        return {}

    running = asyncio.create_task(governed(node, drafted(given), given))
    await models.begun.wait()
    switch.off("model:*", reason="leaks", by="lea")
    with pytest.raises(StoppedError, match=r"model:\* is switched off: leaks"):
        await running
    assert models.cut
    if kind == "chat":
        (row,) = given.ledger.spending()  # type: ignore[attr-defined]
        assert (micros(row["usd"]), row["held_usd"]) == (1000, 0.0)


async def test_a_cancelled_run_books_a_paid_call_and_gives_back_a_free_one() -> None:
    for role, log in (("llm", ["reserve", "settle"]), ("slm", ["reserve", "release"])):
        models, ledger = Slow(), FakeLedger()
        ledger.usd = 0.001 if role == "llm" else 0.0
        given = services(models=models, ledger=ledger)

        async def node(state: State, services: Services, role: str = role) -> dict[str, Any]:
            await services.models.chat(ModelRequest(role, HELLO, max_tokens=10))
            return {}

        running = asyncio.create_task(governed(node, drafted(given), given))
        await models.begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert (models.cut, ledger.log) == (True, log)


async def test_a_failed_call_that_cost_money_is_booked() -> None:
    failure = ModelError("SG309", "unusable twice")
    failure.usd = 0.003
    given = services(models=FakeModels(fails=failure))
    with pytest.raises(ModelError):
        await governed(ROLES[3][1], drafted(given), given)
    assert given.ledger.log == ["reserve", "settle"]  # type: ignore[attr-defined]


async def test_outside_a_run_nothing_is_asked() -> None:
    models = FakeModels()
    assert (await ModelsOfStep(models).chat(ModelRequest("slm", HELLO, max_tokens=5))).text == "Small answer [1]."
    assert (await ModelsOfStep(models).embed(EmbeddingRequest("embedder", ["x"]))).vectors == [[1.0, 0.0]]
