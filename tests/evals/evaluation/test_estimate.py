"""What a batch costs at most: the bound holds on real graphs, is said before anything runs, and is kept to."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sluicegate.cli import app
from sluicegate.errors import BudgetError
from sluicegate.evals.evaluation.estimate import CostBounds, estimate, must_fit
from sluicegate.graphs.config.load import load
from sluicegate.graphs.proofs.fanout.routes import tries
from sluicegate.graphs.runtime.factory import Opened, open_workflow
from sluicegate.models.tokens import upper_tokens
from sluicegate.nodes.prompts import PromptSet
from sluicegate.retrieval.config import IndexConfig
from sluicegate.services import ModelRequest
from sluicegate.state import DocumentRef
from tests.support.fakes import FakeGuards, FakeModels, FakeRetriever, FakeRouter
from tests.support.flows import ANN
from tests.support.helpdesk import HELPDESK, fakes
from tests.support.knowledge import Desk, HashEmbedder
from tests.support.tagged import DESK

PASSAGE = "The portal resets a password in five steps, each of which takes a minute. " * 6
LONG = "Please write a plan for the move of our mail, with every step and who does it, by Friday at 17:30. " * 8


class Priced(FakeModels):
    """A large model at a dollar for a million tokens; what it says is as long as it may be."""

    async def chat(self, request: ModelRequest) -> Any:
        said = await super().chat(request)
        tokens = sum(self.tokens(message.content) for message in request.messages)
        usd = self.price(request.role, tokens, request.max_tokens)
        return replace(said, usd=usd, prompt_tokens=tokens, completion_tokens=request.max_tokens)

    def price(self, role: str, prompt_tokens: int, completion_tokens: int) -> float:
        return (prompt_tokens + completion_tokens) / 1e6 if role == "llm" else 0.0

    def tokens(self, text: str) -> int:
        return upper_tokens(text) + 4


class Full(FakeRetriever):
    """As many of the longest passages as are asked for."""

    async def search(self, index: str, query: str, principal: Any, *, k: int) -> list[DocumentRef]:
        return (await super().search(index, query, principal, k=k)) * k


@pytest.fixture
async def indexed(own_home: Path, tmp_path: Path) -> None:
    desk = Desk(tmp_path / "kb", own_home / "indexes" / "helpdesk", IndexConfig(path=("knowledge",)), HashEmbedder())
    desk.article("one.md", PASSAGE, title="Passwords", id="kb-1")
    await desk.ingest()


def opened(label: str = "outage_report", confidence: float = 0.9, **more: Any) -> Opened:
    workflow = load(HELPDESK)
    given: dict[str, Any] = {
        "models": Priced(parsed={"sentences": [1]}),
        "retriever": Full({"h1": PASSAGE}),
        "prompts": PromptSet({name: prompt.text for name, prompt in workflow.resolved.prompts.items()}),
        **more,
    }
    return open_workflow(workflow, dry=True, shadow=True, change=fakes(label, confidence, **given))


WAYS = {
    "straight": {},
    "unsure": {"confidence": 0.1, "label": "password_reset"},
    "rejected once": {"guards": FakeGuards({"grounded": "regenerate"}, once={"grounded"})},
    "rejected always": {"guards": FakeGuards({"grounded": "regenerate"})},
}


@pytest.mark.slow
@pytest.mark.usefixtures("indexed")
@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("text", ["My mail is down", LONG])
async def test_no_run_reserves_more_than_its_bound(way: str, text: str) -> None:
    made = opened(**WAYS[way])  # type: ignore[arg-type]
    bounds = CostBounds(made)
    assert bounds.unbounded == ""
    bounds.cap = None
    most = bounds.of(text)
    spend = (await made.runner.run(text, ANN)).state["spend"]  # type: ignore[typeddict-item]
    assert most is not None
    assert 0 < spend["usd"] <= spend["estimated_usd"] <= most
    # and is no number that would hold for anything
    assert most < 12 * spend["estimated_usd"]


@pytest.mark.slow
@pytest.mark.usefixtures("indexed")
def test_the_cap_of_a_run_holds_it_lower() -> None:
    bounds = CostBounds(opened())
    short, long = bounds.of("short"), bounds.of(LONG)
    assert short
    assert long
    assert estimate(bounds, ["short", LONG]).usd == short + long < 2 * long
    bounds.cap = long / 2
    assert bounds.of(LONG) == bounds.cap
    assert "per_run_usd" in estimate(bounds, ["short", LONG]).by


@pytest.mark.slow
def test_what_costs_nothing_needs_no_index() -> None:
    found = estimate(CostBounds(opened(models=FreeModels())), ["one", "two"])
    assert (found.usd, found.requests) == (0.0, 2)


class FreeModels(FakeModels):
    def price(self, role: str, prompt_tokens: int, completion_tokens: int) -> float:
        return 0.0


def test_what_cannot_be_bounded_is_said() -> None:
    bounds = CostBounds(opened(models=FakeModels(embed_usd=0.1)))
    assert "the embedder of kb costs money" in bounds.unbounded
    assert bounds.of("one") == bounds.cap == 0.02
    bounds.cap = None
    found = estimate(bounds, ["one"])
    assert found.usd is None
    assert "no `budget.per_run_usd`" in found.by
    must_fit(found, 0.0, of="the day's budget")


def test_a_paid_embedder_of_tags_is_no_bound(tmp_path: Path) -> None:
    (tmp_path / "workflow.yaml").write_text(DESK)
    models = FakeModels(embed_usd=0.1)
    made = open_workflow(
        tmp_path / "workflow.yaml", dry=True, shadow=True, change=lambda given: replace(given, models=models)
    )
    assert CostBounds(made).unbounded == "the embedder of desk costs money"


FANNED = """
workflow: fanned
version: 1
purpose: Fan out.
models:
  slm: {use: "embedded:smollm2-135m"}
  llm: {use: "openai:large", price_per_mtok: {input: 1000, output: 1000}, otherwise: []}
intents: {claim: {task: extraction, risk: low}}
start: gate
nodes:
  gate: {kind: policy-check, then: [{when: "policy.verdict == 'deny'", go: refuse}, {otherwise: fields}]}
  fields: {kind: extract, prompt: fields, fields: {properties: {rows: {type: array}}}, then: each}
  each: {kind: for-each, over: extraction.fields.rows, do: assess, at_most: AT_MOST, collect: notes, then: both}
  assess: {kind: llm-synthesize, prompt: assess, max_tokens: 100, then: each}
  both: {kind: parallel, branches: [one, two], join: JOIN}
  one: {kind: llm-synthesize, prompt: one, max_tokens: 100, then: JOIN}
  two: {kind: extract, prompt: two, model: llm, max_tokens: 100, fields: {properties: {x: {type: string}}}, then: JOIN}
  three: {kind: workflow, use: inner.yaml, then: [{when: "child.status == 'refused'", go: refuse}, {otherwise: check}]}
  check: {kind: output-check, guards: [length], then: [{when: checks.failed, go: refuse}, {otherwise: respond}]}
  respond: {kind: respond}
  refuse: {kind: refuse}
"""
INNER = """
workflow: inner
version: 1
purpose: Draft.
models:
  slm: {use: "embedded:smollm2-135m"}
  llm: {use: "openai:large", price_per_mtok: {input: 1000, output: 1000}, otherwise: []}
intents: {claim: {task: short-answer, risk: low}}
start: gate
nodes:
  gate: {kind: policy-check, then: [{when: "policy.verdict == 'deny'", go: refuse}, {otherwise: draft}]}
  draft: {kind: llm-synthesize, prompt: one, max_tokens: 100, then: check}
  check: {kind: output-check, guards: [length], then: [{when: checks.failed, go: refuse}, {otherwise: respond}]}
  respond: {kind: respond}
  refuse: {kind: refuse}
"""


def fanned(folder: Path, at_most: int = 1, join: str = "check", inner: str = INNER) -> float:
    """US dollars of a request at most."""
    (folder / "prompts").mkdir(parents=True, exist_ok=True)
    for prompt, text in (("fields", "{{question}}"), ("assess", "{{item}}"), ("one", "ab"), ("two", "ab")):
        (folder / "prompts" / f"{prompt}.md").write_text(f"---\nid: {prompt}\nversion: 1\n---\n{text}")
    text = FANNED.replace("AT_MOST", str(at_most)).replace("JOIN", join)
    lines = (line for line in text.splitlines() if join == "three" or not line.startswith("  three:"))
    (folder / "workflow.yaml").write_text("\n".join(lines))
    (folder / "inner.yaml").write_text(inner)
    found = CostBounds(open_workflow(folder / "workflow.yaml", dry=True, shadow=True)).of("abc")
    assert found is not None
    return found


@pytest.mark.slow
def test_branches_items_and_children_add_up(own_home: Path, tmp_path: Path) -> None:
    del own_home
    # a prompt of a token and 4 of its turn, what stands around its sources, why a draft was rejected, an answer
    large = (5 + 100 + 400 + 100) / 1000
    assert fanned(tmp_path / "a") == pytest.approx(ITEM + large + TWICE)
    assert fanned(tmp_path / "b", join="three") == pytest.approx(ITEM + large + TWICE + large)
    assert fanned(tmp_path / "c", at_most=11) == pytest.approx(11 * ITEM + large + TWICE)
    capped = INNER.replace("start:", "budget: {per_run_usd: 0.25}\nstart:")
    assert fanned(tmp_path / "d", join="three", inner=capped) == pytest.approx(ITEM + large + TWICE + 0.25)


ITEM = (4 + 5 + 100 + 400 + 100) / 1000
"""Dollars of an item, which is a part of a request of one token."""
TWICE = (2 * (5 + 100) + 100 + 2 * 100) / 1000
"""Dollars of an extraction whose first answer does not fit."""


def test_visits_of_a_circle() -> None:
    found = tries(load(HELPDESK).flow, {})
    # the check sends back to the synthesis, which may be visited twice; an answer comes before the circle
    assert (found["synthesize"], found["answer"], found["classify"]) == (2, 1, 1)
    assert found["check"] == 3


@pytest.mark.slow
def test_more_than_is_left_does_not_start() -> None:
    found = estimate(CostBounds(opened(models=FakeModels(embed_usd=0.1))), ["one"] * 100)
    assert found.usd == pytest.approx(2.0)
    must_fit(found, 2.1, of="the day's budget")
    with pytest.raises(BudgetError, match=r"100 requests may cost up to \$2.0000, and the day's budget has \$1.0000"):
        must_fit(found, 1.0, of="the day's budget")


# --- the commands ---

PAID = """
models: {llm: {use: "embedded:smollm2-135m", price_per_mtok: {input: 1000, output: 1000}, otherwise: []}}
budget: {per_run_usd: 0.5, per_day_usd: %s}
"""


@pytest.fixture
def paid(tmp_path: Path, own_home: Path) -> Path:
    """The helpdesk with a dear model and a cap of a day that two requests may pass."""
    file = tmp_path / "workflow.yaml"
    file.write_text(f"extends: {HELPDESK.resolve()}\nworkflow: helpdesk\nversion: 2\n{PAID % 0.9}", encoding="utf-8")
    return file


@pytest.fixture
def two(tmp_path: Path) -> Path:
    file = tmp_path / "two.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in (LONG, "My mail is down")), encoding="utf-8")
    return file


@pytest.mark.slow
@pytest.mark.usefixtures("indexed")
def test_an_estimate_before_a_batch(paid: Path, two: Path) -> None:
    result = CliRunner().invoke(app, ["budget", "estimate", str(paid), str(two), "--json"])
    said = json.loads(result.stdout)
    assert (said["requests"], said["usd"], said["left_of_the_day_usd"], said["fits"]) == (2, 1.0, 0.9, False)
    assert result.exit_code == 1
    one = CliRunner().invoke(app, ["budget", "estimate", str(paid), "My mail is down"])
    assert one.exit_code == 0, one.output
    assert "1 requests cost at most $0.5000, bounded by `budget.per_run_usd`; the day's budget has" in one.output


@pytest.mark.slow
@pytest.mark.usefixtures("indexed")
@pytest.mark.parametrize("command", ["run", "eval"])
def test_a_batch_that_may_cost_too_much_starts_nothing(
    paid: Path, two: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def classify(_: Any, text: str) -> Any:
        asked.append(text)
        raise AssertionError

    monkeypatch.setattr(FakeRouter, "classify", classify)
    monkeypatch.setattr("sluicegate.graphs.runtime.factory._router", lambda *_: FakeRouter())
    result = CliRunner().invoke(app, [command, str(paid), str(two), "--json"])
    assert isinstance(result.exception, BudgetError), result.output
    assert result.exception.code == "SG503"
    assert asked == []
    over = CliRunner().invoke(app, [command, str(paid), str(two), "--json", "--over-budget"])
    assert not isinstance(over.exception, BudgetError)
    assert asked == [LONG.strip(), "My mail is down"]
