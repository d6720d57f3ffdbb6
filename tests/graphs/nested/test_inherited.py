"""What a workflow within another one asks for, of its texts and its models, holds in its parent's runs."""

import asyncio
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from sluicegate.evals.evaluation.baselines import Variant, opened_variant
from sluicegate.graphs.config.load import load
from sluicegate.graphs.config.overlays import variant
from sluicegate.graphs.runtime.checkpoints import open_checkpoints
from sluicegate.graphs.runtime.factory import open_workflow
from sluicegate.home import home
from sluicegate.observe.approval_labels import decided_drafts
from sluicegate.observe.tracing.settings import TraceReaders, TraceSettings
from sluicegate.observe.tracing.store import Store
from sluicegate.retention.prune import prune
from sluicegate.services import Services
from sluicegate.storage.database import place
from tests.support.fakes import FakeModels, FakeRouter
from tests.support.family import ANN, CLERK, edit, family, kyc_of, opened, without_people


@pytest.fixture
def claims(tmp_path: Path) -> Path:
    return family(tmp_path)


def test_a_trace_is_kept_as_strictly_as_its_strictest_workflow_asks(claims: Path) -> None:
    edit(kyc_of(claims), "start: gate", "tracing: {payloads: hashes}\nretention: {traces_days: 7}\nstart: gate")
    without_people(claims)
    made = opened(claims)
    asyncio.run(made.runner.run("My roof leaks", ANN))
    made.tracer.flush()
    kept = str([span["attributes"] for span in Store(home() / "store.sqlite").query("SELECT attributes FROM spans")])
    assert "hmac:" in kept
    assert "roof" not in kept
    # what the parent takes of it is the child's text, too
    assert "Small answer" not in kept
    assert load(claims).config.retention.traces_days == 7
    assert load(claims).config.retention.runs_days == 30


def test_the_stricter_of_two() -> None:
    one = TraceSettings(
        payloads="full",
        pii=("email",),
        patterns={"case": "C-[0-9]+", "badge": "B[0-9]"},
        payload_limit=300,
        readers=TraceReaders(roles=("clerk", "auditor"), groups=("desk",), clearance="confidential"),
        environment="one",
    )
    other = TraceSettings(
        payloads="masked",
        pii=("iban",),
        patterns={"case": "K-[0-9]+"},
        users="plain",
        readers=TraceReaders(roles=("clerk",), clearance="public"),
    )
    both = one.stricter(other)
    assert (both.payloads, both.pii, both.payload_limit, both.users) == ("masked", ("email", "iban"), 300, "hashed")
    assert both.patterns == {"case": "(?:C-[0-9]+)|(?:K-[0-9]+)", "badge": "B[0-9]"}
    assert both.readers == TraceReaders(roles=("clerk",), clearance="public")
    assert both.environment == "one"
    assert one.stricter(one) == one.model_copy(update={"patterns": both.patterns | {"case": "C-[0-9]+"}})


@pytest.mark.slow
@pytest.mark.parametrize("strict", ["claims", "kyc"])
def test_a_run_and_those_within_it_go_together(claims: Path, strict: str) -> None:
    edit({"claims": claims, "kyc": kyc_of(claims)}[strict], "start: gate", "retention: {runs_days: 7}\nstart: gate")
    without_people(claims)
    outcome = asyncio.run(opened(claims).runner.run("My roof leaks", ANN))
    in_8_days = datetime.fromisoformat(outcome.state["run"]["started_at"]).timestamp() + 8 * 86_400
    with closing(open_checkpoints(place())) as checkpoints:
        assert len(checkpoints.threads()) == 2
        assert prune(load(claims).config, now=lambda: in_8_days).runs == 2
        assert checkpoints.threads() == []


def test_another_model_is_that_of_the_workflows_within(claims: Path) -> None:
    made = load(variant(load(claims), models={"slm": "ollama:qwen3:4b"}))
    assert [one.config.models["slm"].use for one in made.family] == ["ollama:qwen3:4b", "ollama:qwen3:4b"]
    assert made.digest != load(claims).digest
    assert made.children["kyc"].config.nodes == load(claims).children["kyc"].config.nodes


def test_another_model_of_a_workflow_within_alone(claims: Path) -> None:
    edit(kyc_of(claims), 'models: {slm: {use: "embedded:smollm2-135m"}}', MODELS)
    made = load(variant(load(claims), models={"llm": "ollama:qwen3:8b"}))
    assert "llm" not in made.config.models
    kyc = made.children["kyc"]
    assert (kyc.config.models["llm"].use, kyc.config.models["slm"].use) == ("ollama:qwen3:8b", "embedded:smollm2-135m")


MODELS = 'models: {slm: {use: "embedded:smollm2-135m"}, llm: {use: "ollama:qwen3:4b"}}'


@pytest.mark.parametrize(
    ("of", "asked"),
    [("claims", "slm"), ("claims kyc", "llm"), ("kyc", "llm")],
)
def test_a_baseline_is_that_of_each_workflow_with_its_model(claims: Path, tmp_path: Path, of: str, asked: str) -> None:
    without_people(claims)
    for path in [claims] if of == "claims" else [kyc_of(claims)] if of == "kyc" else [claims, kyc_of(claims)]:
        edit(path, 'models: {slm: {use: "embedded:smollm2-135m"}}', MODELS)
    models = asked_in(claims, tmp_path, "all-llm")
    assert [role for role, _ in models.asked] == [asked]


def asked_in(claims: Path, folder: Path, baseline: Variant) -> FakeModels:
    """The calls of a run of a baseline."""
    models = FakeModels()

    def fakes(services: Services) -> Services:
        return replace(services, models=models, router=FakeRouter("identity"))

    real: Any = open_workflow

    def with_fakes(*given: Any, change: Any, **options: Any) -> Any:
        return real(*given, change=lambda services: change(fakes(services)), **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sluicegate.evals.evaluation.baselines.open_workflow", with_fakes)
        made = opened_variant(claims, folder / "isolated", baseline)
    assert asyncio.run(made.runner.run("My roof leaks", ANN)).status == "answered"
    return models


@pytest.mark.slow
def test_decisions_on_a_childs_draft_grade_no_draft_of_its_parent(claims: Path) -> None:
    edit(claims, "take: [answer, checks]", "take: [answer, checks, approval]")
    made = opened(claims)
    waiting = asyncio.run(made.runner.run("My roof leaks", ANN))
    assert asyncio.run(made.runner.decide(waiting.run, "approve", CLERK)).status == "answered"
    made.tracer.flush()
    rows, left = decided_drafts(Store(home() / "store.sqlite"), "claims")
    assert (rows, dict(left)) == ([], {})
