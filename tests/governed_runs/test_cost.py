"""What a run of the shipped helpdesk costs, counted on a second one: nothing that the first has made is made again."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cedarpy
import pytest

from benchmarks import governed
from sluicegate.graphs.config.load import load
from sluicegate.graphs.runtime.factory import open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.models.chain import ModelSet
from sluicegate.models.provider import ModelResponse
from sluicegate.policies.guards.detectors import grounded
from sluicegate.policies.guards.injection import injection
from sluicegate.policies.guards.set import GuardSet
from sluicegate.retrieval.files import indexes_of
from sluicegate.retrieval.ingest import ingest
from tests.support.fakes import FakeConfidence, FakeRouter
from tests.support.helpdesk import ANSWERED, HELPDESK
from tests.support.knowledge import hashed

pytestmark = pytest.mark.slow

QUESTION = "Is colour printing allowed?"


class Instant:
    """A provider that has every answer ready."""

    def __init__(self, config: Any) -> None:
        self._name = config.use

    async def chat(self, request: Any) -> ModelResponse:
        return ModelResponse('{"sentences": [1]}' if request.schema else "Yes.", 20, 6, "stop")

    async def embed(self, texts: Sequence[str], *, passages: bool = False) -> Sequence[Sequence[float]]:
        return [hashed(text) for text in texts]

    async def identity(self) -> str:
        return self._name

    async def warm(self) -> None: ...


@pytest.fixture
async def again(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Count calls during a second run: each of `watched` is a place and the name of a function there."""
    workflow = load(HELPDESK)
    models = ModelSet(workflow.config.models, provider_of=Instant)
    index = workflow.config.indexes["kb"]
    folder = Path(HELPDESK).parent
    await ingest(indexes_of("helpdesk") / "kb", [], index, models, folders=[folder])
    runner = open_workflow(
        workflow,
        models=models,
        change=lambda services: replace(
            services, router=FakeRouter("printing", 0.95), confidence=FakeConfidence(0.9, threshold=0.6)
        ),
    ).runner

    async def count(*watched: tuple[Any, str], question: str = f"{QUESTION} (again)") -> Counter[str]:
        asker = principal("ann", ["employee"], clearance="internal")
        first = await runner.run(QUESTION, asker)
        assert [entry["node"] for entry in first.state["trail"]] == ANSWERED
        counts: Counter[str] = Counter()
        with monkeypatch.context() as counting:
            for place, name in watched:
                counting.setattr(place, name, _counted(getattr(place, name), counts, name))
            second = await runner.run(question, asker)
        assert [entry["node"] for entry in second.state["trail"]] == ANSWERED
        assert second.text == first.text
        return counts

    return count


def _counted(function: Any, counts: Counter[str], name: str) -> Any:
    def counting(*args: Any, **kwargs: Any) -> Any:
        counts[name] += 1
        return function(*args, **kwargs)

    return counting


async def test_guards_are_made_once(again: Callable[..., Any]) -> None:
    import guardrails
    from guardrails.run import Runner

    assert not await again((GuardSet, "_build"), (guardrails.Guard, "__init__"), (Runner, "__init__"))


async def test_a_passage_is_checked_once_and_a_question_once_in_each_run(again: Callable[..., Any]) -> None:
    counts = await again((injection, "parts"), (grounded, "clauses"))
    assert counts["parts"] == 1, "the question; the passages were scored in the run before"
    assert counts["clauses"] == 0, "the passages were read in the run before"


async def test_cedar_is_not_asked_again_what_it_has_decided(again: Callable[..., Any]) -> None:
    counts = await again((cedarpy, "is_authorized"))
    # the hour is part of what `ask` is decided on
    assert counts["is_authorized"] <= 1


async def test_the_schema_of_the_index_is_not_read_again(again: Callable[..., Any]) -> None:
    from lancedb.table import AsyncTable

    counts = await again((AsyncTable, "schema"), (AsyncTable, "query"))
    assert counts == {"query": 2}


async def test_a_run_gets_no_threads(again: Callable[..., Any]) -> None:
    assert not await again((ThreadPoolExecutor, "submit"), (threading.Thread, "start"))


async def test_the_benchmark_of_a_governed_run_measures_answers_that_were_quoted_and_checked() -> None:
    workflow = load(HELPDESK)
    models = ModelSet(workflow.config.models)
    folder = Path(HELPDESK).parent
    await ingest(indexes_of("helpdesk") / "kb", [], workflow.config.indexes["kb"], models, folders=[folder])
    once = governed.ours()
    for number, _ in enumerate(governed.QUESTIONS):
        await once(number)
