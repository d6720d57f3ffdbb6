"""Whose models are asked: those that a run is given, by its nodes, its router, its retriever and its guards alike."""

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from sluicegate.evals.evaluation.baselines import Variant, changed, metered
from sluicegate.graphs.config.load import Workflow, load
from sluicegate.graphs.runtime.factory import open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.models.chain import ModelSet
from sluicegate.models.config import ModelConfig
from sluicegate.models.provider import ModelResponse
from sluicegate.retrieval.files import indexes_of
from sluicegate.retrieval.ingest import ingest
from sluicegate.services import Completion, EmbeddingRequest, Embeddings, ModelRequest, ProbeTask, TokenLogprob
from tests.support.fakes import FakeModels
from tests.support.knowledge import hashed
from tests.support.made_rows import fitted_at

pytestmark = pytest.mark.slow

ANN = principal("ann", ["employee"])
WORKFLOW = """\
workflow: own
version: 1
purpose: Answers from a handbook, after the router, the retriever and a guard have asked models too.
models:
  slm:      {use: "test:small", price_per_mtok: {input: 1, output: 2}}
  llm:      {use: "test:large", price_per_mtok: {input: 100, output: 200}}
  embedder: {use: "test:embedder", price_per_mtok: {input: 10, output: 0}}
intents:
  password: {task: short-answer, risk: low, max_tokens: 40}
  printer:  {task: short-answer, risk: low, max_tokens: 40}
  network:  {task: short-answer, risk: low, max_tokens: 40}
  oos:      {task: out-of-scope, risk: low, max_tokens: 1}
router: {artifact: router, strategy: cascade, threshold: 1.0, cascade: {share: 1.0, shortlist: 2}, out_of_scope: oos}
indexes:
  kb: {path: knowledge, minimum_score: 0.0}
guards:
  slm-review: {action: refuse, when_not_admitted: refuse}
start: classify
nodes:
  classify: {kind: classify, then: gate}
  gate:
    kind: policy-check
    guards: []
    then:
      - {when: "policy.verdict == 'deny'", go: refuse}
      - {otherwise: facts}
  facts:
    kind: retrieve
    index: kb
    then:
      - {when: "intent.confidence < router.threshold", go: synthesize}
      - {otherwise: answer}
  answer: {kind: slm-answer, prompt: answer, then: check}
  synthesize: {kind: llm-synthesize, prompt: answer, then: check}
  check:
    kind: output-check
    guards: [slm-review]
    then:
      - {when: "checks.failed", go: refuse}
      - {otherwise: respond}
  respond: {kind: respond}
  refuse: {kind: refuse}
"""
PROMPT = "---\nid: answer\nversion: 1\n---\n# user\n{{sources}}\n\n{{question}}\n{{feedback}}\n"
PAGE = "---\ntitle: Passwords\napproved: true\nreaders: [everyone]\n---\nReset my password in the portal.\n"
QUESTION = "please reset my password again 7"
CALLS = {"label": 4, "answer": 1, "review": 1}
"""Chats of one run; the router asks three requests that say nothing for its prior, then the request itself."""


def purpose(request: ModelRequest) -> str:
    """Who asks: the router and the guard ask for their own fields."""
    properties = (request.schema or {}).get("properties", {})
    return "label" if "class" in properties else "review" if "proper" in properties else "answer"


def answered(request: ModelRequest) -> tuple[str, Any, tuple[TokenLogprob, ...]]:
    """Text, value and token probabilities."""
    if purpose(request) == "label":
        return '{"class": "A"}', {"class": "A"}, (TokenLogprob("A", math.log(0.9), (("B", math.log(0.1)),)),)
    if purpose(request) == "review":
        return '{"proper": "yes"}', {"proper": "yes"}, ()
    return "Reset it in the portal. [1]", None, ()


@dataclass
class Provider:
    """Answers as one model, counting what it is asked for and the tokens of it."""

    use: str
    asked: Counter[str] = field(default_factory=Counter[str])

    async def chat(self, request: ModelRequest) -> ModelResponse:
        self.asked[purpose(request)] += 1
        text, _, logprobs = answered(request)
        return ModelResponse(text, 10, 5, "stop", logprobs)

    async def embed(self, texts: Sequence[str], *, passages: bool = False) -> list[list[float]]:
        self.asked["embedding"] += 1
        return [hashed(text) for text in texts]

    async def identity(self) -> str:
        return self.use

    async def warm(self) -> None: ...


class Probed(ModelSet):
    """Each of its models has passed its probes."""

    async def admitted(self, role: str, task: ProbeTask, least: float = 0.8) -> bool:
        return True


class Swapped(FakeModels):
    """A fake that plays every part."""

    def __init__(self) -> None:
        super().__init__()
        self.purposes = Counter[str]()
        self.probed: list[tuple[str, str]] = []

    async def chat(self, request: ModelRequest) -> Completion:
        self.purposes[purpose(request)] += 1
        text, parsed, logprobs = answered(request)
        return Completion(text, "fake:x", "fake:x", 10, 5, "stop", 1.0, 0.0, parsed=parsed, logprobs=logprobs)

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        self.purposes["embedding"] += 1
        return Embeddings([hashed(text) for text in request.texts], "fake:x", request.like or "fake")

    async def admitted(self, role: str, task: ProbeTask) -> bool:
        self.probed.append((role, task))
        return True


@pytest.fixture
def workflow(tmp_path: Path) -> Workflow:
    for name, text in {"prompts/answer.md": PROMPT, "knowledge/passwords.md": PAGE, "workflow.yaml": WORKFLOW}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    asyncio.run(fitted_at(tmp_path / "router", embeddings=False))
    return load(tmp_path / "workflow.yaml")


@pytest.fixture
def providers(workflow: Workflow) -> dict[str, Provider]:
    return {role: Provider(model.use) for role, model in workflow.config.models.items()}


@pytest.fixture
def models(workflow: Workflow, providers: dict[str, Provider], tmp_path: Path) -> ModelSet:
    """The workflow's own models, with which its index was made."""
    by_use = {provider.use: provider for provider in providers.values()}

    def provider_of(config: ModelConfig) -> Provider:
        return by_use[config.use]

    made = Probed(workflow.config.models, provider_of=provider_of)
    index = workflow.config.indexes["kb"]
    asyncio.run(ingest(indexes_of("own") / "kb", [tmp_path / "knowledge"], index, made, folders=[tmp_path]))
    for provider in providers.values():
        provider.asked.clear()
    return made


async def test_models_that_are_swapped_are_the_only_ones_asked(
    workflow: Workflow, models: ModelSet, providers: dict[str, Provider]
) -> None:
    fake = Swapped()
    opened = open_workflow(workflow, models=models, change=lambda services: replace(services, models=fake))
    outcome = await opened.runner.run(QUESTION, ANN)
    assert outcome.state["run"]["status"] == "answered"
    assert outcome.state.get("intent", {}).get("by") == "cascade"
    assert fake.purposes == {**CALLS, "embedding": 1}
    assert set(fake.probed) == {("slm", "label"), ("slm", "review")}
    assert {role: +provider.asked for role, provider in providers.items()} == {"slm": {}, "llm": {}, "embedder": {}}


@pytest.mark.parametrize(("variant", "role"), [("all-slm", "slm"), ("all-llm", "llm")])
async def test_a_baseline_counts_what_router_retriever_and_guards_ask(
    variant: Variant, role: str, workflow: Workflow, models: ModelSet, providers: dict[str, Provider]
) -> None:
    opened = open_workflow(workflow, models=models, change=lambda services: changed(services, variant))
    with metered() as meter:
        outcome = await opened.runner.run(QUESTION, ANN)
    other = providers["llm" if role == "slm" else "slm"]
    assert (providers[role].asked, +other.asked) == (CALLS, {})
    calls, embedded = sum(CALLS.values()), models.tokens(QUESTION)
    spend = outcome.state["spend"]  # type: ignore[typeddict-item]
    assert spend["slm_calls"] + spend["llm_calls"] == calls
    assert (spend["prompt_tokens"], spend["completion_tokens"]) == (10 * calls + embedded, 5 * calls)
    usd = models.price(role, 10 * calls, 5 * calls) + models.price("embedder", embedded, 0)
    assert spend["usd"] == pytest.approx(usd)
    assert meter.list_usd == pytest.approx(usd)
    assert meter.large == (calls if role == "llm" else 0)
