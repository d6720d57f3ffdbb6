"""The semantic cache through whole runs: real services in a real home, stand-ins for the models only.

Every question gets nearly the same embedding here, the worst that an embedding model can do: what keeps questions apart
is the verifier and what an answer rests on.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import ConfigError, ModelError
from sluicegate.graphs.config.load import load
from sluicegate.graphs.runtime.factory import open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.home import home
from sluicegate.observe.audit.proof import records
from sluicegate.observe.tracing.store import Store
from sluicegate.services import EmbeddingRequest, Embeddings, Services
from tests.support.fakes import FakeModels, FakeRetriever, FakeRouter

WORKFLOW = """
workflow: faq
version: 1
purpose: Answers questions that are asked again and again.
models:
  slm: {use: "embedded:smollm2-135m"}
  embedder: {use: "embedded:all-minilm-l6-v2"}
intents:
  opening: {task: short-answer, risk: low, max_tokens: 60}
  other:   {task: short-answer, risk: low, max_tokens: 60}
  health:  {task: short-answer, risk: high, max_tokens: 60}
  report:  {task: synthesis, risk: low, max_tokens: 60}
  ticket:  {task: tool, risk: low, max_tokens: 60, tool: create_ticket}
router: {strategy: slm}
cache: CACHE
indexes: {kb: {path: knowledge}}
start: classify
nodes:
  classify: {kind: classify, then: gate}
  gate:
    kind: policy-check
    guards: [pii]
    then:
      - {when: "policy.verdict == 'deny'", go: refuse}
      - {otherwise: recall}
  recall: {kind: cache-lookup, then: [{when: "cache.hit", go: respond}, {otherwise: facts}]}
  facts: {kind: retrieve, index: kb, then: answer}
  answer: {kind: slm-answer, prompt: answer, then: check}
  check: {kind: output-check, guards: [pii, tone], then: [{when: "checks.failed", go: refuse}, {otherwise: respond}]}
  respond: {kind: respond}
  refuse: {kind: refuse}
guards: {pii: {action: redact}}
"""
SEMANTIC = "{answers: semantic, intents: [opening], ttl: 24h, similarity: 0.9}"
ANN = principal("ann", ["employee"])
ASKED, AGAIN = "How do I open the gate?", "Hi, could you tell me how to open the gate?"


class Answers(FakeModels):
    """Embeds everything alike, or nothing."""

    broken = False

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        if self.broken:
            raise ModelError("SG309", "no embedder")
        return await super().embed(request)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "faq"
    (made / "prompts").mkdir(parents=True)
    (made / "knowledge").mkdir()
    prompt = "---\nid: answer\nversion: 1\n---\n{{question}}{{sources}}{{feedback}}{{section}}\n"
    (made / "prompts" / "answer.md").write_text(prompt, encoding="utf-8")
    return made


class Desk:
    """A workflow that is opened anew for each request, as each command does."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = folder / "workflow.yaml"
        self.models, self.router, self.retriever = Answers(), FakeRouter("opening"), FakeRetriever()
        self.models.answers["slm"] = "Push the green button."
        monkeypatch.setattr("sluicegate.graphs.runtime.factory.ModelSet", lambda _: self.models)
        monkeypatch.setattr("sluicegate.graphs.runtime.factory._router", lambda *_: self.router)
        self.write(SEMANTIC)

    def write(self, cache: str) -> None:
        self.file.write_text(WORKFLOW.replace("CACHE", cache), encoding="utf-8")

    async def ask(self, text: str, who: Any = ANN) -> Outcome:
        def change(services: Services) -> Services:
            return dataclasses.replace(services, retriever=self.retriever)

        opened = open_workflow(self.file, change=change)
        outcome = await opened.runner.run(text, who)
        opened.tracer.close()
        return outcome


@pytest.fixture
def desk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(folder, monkeypatch)


async def test_other_words_that_ask_the_same_are_answered_from_the_cache(desk: Desk) -> None:
    first, second = await desk.ask(ASKED), await desk.ask(AGAIN)
    assert (first.path, second.path) == ("rag-slm", "cache")
    assert second.text == first.text
    assert len(desk.models.asked) == 1
    lookup = second.state.get("cache")
    assert lookup
    assert (lookup.get("kind"), lookup.get("question"), lookup.get("similarity")) == ("semantic", ASKED, 1.0)
    equal = await desk.ask(ASKED.lower())
    assert equal.state.get("cache", {}).get("kind") == "exact"


@pytest.mark.slow
async def test_the_hit_is_in_trail_and_trace_and_by_hash_in_the_audit_log(desk: Desk) -> None:
    await desk.ask(ASKED)
    hit = await desk.ask(AGAIN)
    branch = next(entry["branch"] for entry in hit.state.get("trail", []) if entry["node"] == "recall")
    assert branch["values"] == {"cache.hit": True, "cache.question": ASKED, "cache.similarity": 1.0}
    spans = {span["name"]: span["attributes"] for span in Store(home() / "store.sqlite").spans(hit.run)}
    assert spans["recall"]["question"] == ASKED
    assert spans["recall"]["cache"]["similarity"] == 1.0
    assert spans["cache near"]["neighbours"] == 1
    events = [body for body, _, _ in records(home() / "audit") if body.get("run") == hit.run]
    [event] = [body for body in events if body["facts"].get("node") == "recall"]
    assert event["facts"]["cache"]["kind"] == "semantic"
    assert event["texts"]["cached_question"]["length"] == len(ASKED)
    assert ASKED not in json.dumps(events)


@pytest.mark.slow
@pytest.mark.parametrize(
    "look_alike",
    [
        "How do I close the gate?",
        "How do I open the 2nd gate?",
        "Why do I open the gate?",
        "How do I not open the gate?",
    ],
)
async def test_a_look_alike_is_not_served_however_similar_its_embedding(desk: Desk, look_alike: str) -> None:
    await desk.ask(ASKED)
    assert (await desk.ask(look_alike)).path == "rag-slm"


@pytest.mark.slow
async def test_what_an_answer_rests_on_keeps_others_away(desk: Desk) -> None:
    """Another reader, another version of the documents, another version of the workflow, another intent."""
    await desk.ask(ASKED)
    assert (await desk.ask(AGAIN, principal("bob", ["contractor"]))).path == "rag-slm"
    desk.router.label = "other"
    assert (await desk.ask(AGAIN)).path == "rag-slm"
    desk.router.label = "opening"
    desk.retriever.version = lambda index: "v2"  # type: ignore[method-assign]
    assert (await desk.ask("Please tell me how to open the gate")).path == "rag-slm"
    desk.write(SEMANTIC.replace("24h", "23h"))
    assert (await desk.ask("How can I open the gate?")).path == "rag-slm"


@pytest.mark.slow
async def test_a_changed_prompt_serves_no_old_answer(desk: Desk) -> None:
    await desk.ask(ASKED)
    prompt = desk.file.parent / "prompts" / "answer.md"
    prompt.write_text(prompt.read_text(encoding="utf-8") + "Be brief.", encoding="utf-8")
    assert (await desk.ask(AGAIN)).path == "rag-slm"


@pytest.mark.slow
async def test_only_where_the_workflow_asks_for_it(desk: Desk) -> None:
    desk.write("{answers: exact}")
    await desk.ask(ASKED)
    assert (await desk.ask(AGAIN)).path == "rag-slm"
    desk.write(SEMANTIC.replace("opening", "other"))
    await desk.ask(ASKED)
    assert (await desk.ask(AGAIN)).path == "rag-slm"


@pytest.mark.slow
@pytest.mark.parametrize("cache", [SEMANTIC, "{answers: exact}"])
async def test_an_answer_to_a_high_risk_class_is_never_kept(desk: Desk, cache: str) -> None:
    desk.write(cache)
    desk.router.label = "health"
    await desk.ask(ASKED)
    assert (await desk.ask(ASKED)).path == "rag-slm"
    desk.router.label = "opening"
    assert (await desk.ask(AGAIN)).path == "rag-slm"


@pytest.mark.slow
@pytest.mark.parametrize("cache", [SEMANTIC, "{answers: exact}"])
async def test_nothing_that_was_redacted_is_kept_or_served(desk: Desk, cache: str) -> None:
    """Two people's requests read the same once their addresses are placeholders; the answers are each one's own."""
    desk.write(cache)
    await desk.ask("Is bob@example.org open?")
    assert (await desk.ask("Is ann@example.org open?", principal("eve", ["employee"]))).path == "rag-slm"
    # one who types the placeholder plants nothing for those who are redacted
    await desk.ask("Is <EMAIL_1> open today?")
    assert (await desk.ask("Is ann@example.org open today?")).path == "rag-slm"
    desk.models.answers["slm"] = "Write to bob@example.org."
    await desk.ask("Who opens the gate?")
    assert (await desk.ask("Who opens the gate?")).path == "rag-slm"


@pytest.mark.slow
async def test_without_an_embedder_equal_words_are_still_found(desk: Desk) -> None:
    desk.models.broken = True
    await desk.ask(ASKED)
    assert (await desk.ask(AGAIN)).path == "rag-slm"
    assert (await desk.ask(ASKED)).path == "cache"


@pytest.mark.slow
async def test_a_long_story_is_no_question_to_share(desk: Desk) -> None:
    story = "I stand at the gate since noon and nobody comes. " * 7
    await desk.ask(f"{story}{ASKED}")
    assert (await desk.ask(f"Hello, {story}{ASKED}")).path == "rag-slm"


@pytest.mark.parametrize(
    ("cache", "code", "said"),
    [
        ("{answers: semantic}", "SG106", "must list the intents it applies to (one of: opening, other)"),
        ("{answers: semantic, intents: [openin]}", "SG113", "did you mean 'opening'?"),
        ("{answers: semantic, intents: [health]}", "SG107", "short-answer with high risk"),
        ("{answers: semantic, intents: [report]}", "SG107", "synthesis with low risk"),
        ("{answers: semantic, intents: [ticket]}", "SG107", "tool with low risk"),
        ("{answers: semantic, intents: [opening], embedder: embeder}", "SG112", "did you mean 'embedder'?"),
        ("{answers: semantic, intents: [opening], similarity: 0.2}", "SG107", "0.2"),
        ("{answers: exact, intents: [opening]}", "SG107", "'intents' has no effect without `answers: semantic`"),
    ],
)
def test_a_cache_that_may_not_be_is_refused_at_its_place(desk: Desk, cache: str, code: str, said: str) -> None:
    desk.write(cache)
    with pytest.raises(ConfigError) as raised:
        load(desk.file)
    [problem] = raised.value.problems
    assert problem.code == code
    assert said in str(problem)
    assert problem.place
    line = desk.file.read_text(encoding="utf-8").splitlines()[problem.place.line - 1]
    assert line.startswith("cache:")
