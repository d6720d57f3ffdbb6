"""What happens at a cap is a branch of the workflow: whole runs of the helpdesk on real budgets."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sluicegate.graphs.config.load import load
from sluicegate.graphs.runtime.factory import Opened, open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.models.chain import ModelSet
from sluicegate.models.config import ModelConfig
from sluicegate.models.provider import ModelResponse
from sluicegate.services import ModelRequest, Services
from tests.support import ROOT
from tests.support.fakes import FakeConfidence, FakeRetriever, FakeRouter

pytestmark = pytest.mark.slow

HELPDESK = ROOT / "configs" / "helpdesk" / "workflow.yaml"
ANN, BOB = principal("ann", ["employee"]), principal("bob", ["employee"])
QUESTION = "Why was the mail server down this morning?"


class Provider:
    """Counts calls; writes for the large model and picks a sentence for the small one."""

    def __init__(self, config: ModelConfig, calls: list[str]) -> None:
        self._use, self._calls = config.use, calls

    async def chat(self, request: ModelRequest) -> ModelResponse:
        self._calls.append(self._use)
        text = '{"sentences": [1]}' if request.schema else "Reset it in the portal. [1]"
        return ModelResponse(text, 200, 50, "stop")

    async def embed(self, texts: Sequence[str], *, passages: bool = False) -> list[list[float]]:
        return [[1.0, 0.0] for _ in texts]

    async def identity(self) -> str:
        return self._use

    async def warm(self) -> None: ...


def opened(tmp_path: Path, budget: str, calls: list[str]) -> Opened:
    variant = f"extends: {HELPDESK}\nworkflow: own\nbudget: {budget}\n"
    (tmp_path / "workflow.yaml").write_text(variant, "utf-8")
    workflow = load(tmp_path / "workflow.yaml")

    def change(services: Services) -> Services:
        sure = FakeConfidence(0.9, threshold=0.6)
        return replace(services, router=FakeRouter("outage_report"), retriever=FakeRetriever(), confidence=sure)

    models = ModelSet(workflow.config.models, provider_of=lambda config: Provider(config, calls))
    return open_workflow(workflow, models=models, change=change)


ENOUGH = 0.0009
"""Dollars that one call of the large model reserves here, and less than two do."""


@pytest.mark.parametrize(
    "budget",
    [
        "{per_run_usd: 0.0000001}",
        "{per_run_tokens: 10}",
    ],
)
async def test_a_run_without_budget_takes_the_branch_for_it(tmp_path: Path, budget: str) -> None:
    calls: list[str] = []
    outcome = await opened(tmp_path, budget, calls).runner.run(QUESTION, ANN)
    way = [entry["node"] for entry in outcome.state["trail"]]
    assert way[way.index("synthesize") + 1] == "fallback"
    assert "openai:gpt-5-mini" not in calls
    assert budget[1:].split(":")[0] in outcome.state["spend"]["stopped_by"]


@pytest.mark.parametrize(
    ("budget", "other"),
    [
        ("{per_principal_day_usd: %s}", BOB),
        ("{per_intent_day_usd: %s}", None),
        ("{per_day_usd: %s}", None),
        ("{per_month_usd: %s}", None),
    ],
)
async def test_a_day_that_is_used_up_takes_the_branch_for_it(tmp_path: Path, budget: str, other: object) -> None:
    """The first run is paid for, the second falls back; another person has a budget of their own."""
    calls: list[str] = []
    made = opened(tmp_path, budget % ENOUGH, calls)
    first = await made.runner.run(QUESTION, ANN)
    assert calls.count("openai:gpt-5-mini") == 1
    assert first.state["spend"]["usd"] == pytest.approx((200 * 0.25 + 50 * 2.0) / 1e6)
    second = await made.runner.run(QUESTION + " Again?", ANN)
    way = [entry["node"] for entry in second.state["trail"]]
    assert way[way.index("synthesize") + 1] == "fallback"
    assert calls.count("openai:gpt-5-mini") == 1
    if other:
        await made.runner.run(QUESTION + " And now?", BOB)
        assert calls.count("openai:gpt-5-mini") == 2
