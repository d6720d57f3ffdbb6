"""Recorded requests through another version: same passages, no effects, and what would have changed."""

from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import RunError
from sluicegate.graphs.runtime.factory import Opened, open_workflow
from sluicegate.graphs.session.replay import ReplayChange, open_for_replay, replay
from sluicegate.observe.tracing.reading.filters import RunFilter
from sluicegate.observe.tracing.store import Store
from sluicegate.state import DocumentRef
from tests.support.fakes import FakeCache, FakeModels, FakeRetriever
from tests.support.helpdesk import ANSWERED, HELPDESK, TICKET, fakes, list_tickets, production

pytestmark = pytest.mark.slow


class OtherRetriever(FakeRetriever):
    """The index has moved on since."""

    async def search(self, *given: Any, **more: Any) -> list[DocumentRef]:
        return [{**document, "version": "3"} for document in await super().search(*given, **more)]


def stricter(folder: Path) -> Path:
    """A version that gives what the small model is not very sure of to the large one."""
    file = folder / "stricter.yaml"
    branches = '[{when: "intent.confidence < 0.99", go: synthesize}, {otherwise: check}]'
    file.write_text(
        f"extends: {HELPDESK.resolve()}\nworkflow: helpdesk\nversion: 2\nnodes: {{answer: {{then: {branches}}}}}\n"
    )
    return file


async def replayed(run: str, config: Path = HELPDESK, label: str = "password_reset", **more: Any) -> ReplayChange:
    options = {"documents": more.pop("documents")} if "documents" in more else {}
    changes = await replay([run], open_for_replay(config, change=fakes(label, **more)), **options)
    return changes[0]


async def test_the_same_version_changes_nothing() -> None:
    outcome, _ = await production()
    change = await replayed(outcome.run)
    assert not change.changed
    assert change.differences == []
    assert change.after["way"] == ANSWERED
    assert change.documents == "same"


async def test_another_version_says_what_changes(tmp_path: Path) -> None:
    outcome, _ = await production()
    change = await replayed(outcome.run, stricter(tmp_path))
    assert change.changed
    found = {each.field: (each.before, each.after) for each in change.differences}
    assert found["path"] == ("rag-slm", "rag-llm")
    assert found["workflow"] == ("helpdesk 1", "helpdesk 2")


@pytest.mark.parametrize(("documents", "version"), [("same", "kb-1@2"), ("fresh", "kb-1@3")])
async def test_documents_are_the_recorded_ones_unless_told_otherwise(documents: Any, version: str) -> None:
    outcome, _ = await production()
    change = await replayed(outcome.run, documents=documents, retriever=OtherRetriever())
    assert change.after["documents"] == [version]
    assert change.documents == documents
    assert change.changed == (documents == "fresh")


async def test_a_run_that_never_searched_is_served_fresh_ones() -> None:
    outcome, _ = await production("hardware_request", models=FakeModels(parsed=TICKET))
    assert (await replayed(outcome.run)).documents == "fresh"


async def test_a_search_that_found_nothing_is_served_as_such() -> None:
    outcome, _ = await production(retriever=FakeRetriever(count=0))
    change = await replayed(outcome.run)
    assert (change.documents, change.after["documents"]) == ("same", [])


async def test_what_the_new_policies_forbid_is_withheld_and_said() -> None:
    outcome, _ = await production()
    change = await replayed(outcome.run, retriever=FakeRetriever(forbidden=frozenset({"kb-1"})))
    assert (change.documents, change.withheld, change.after["documents"]) == ("same", ["kb-1"], [])
    assert change.changed
    assert change.as_json()["withheld"] == ["kb-1"]


async def test_effects_are_stubbed_and_nothing_counts(own_home: Path) -> None:
    outcome, opened = await production("hardware_request", models=FakeModels(parsed=TICKET))
    assert [call["status"] for call in outcome.state["tool_calls"]] == ["done"]
    at: Any = {"configurable": {"thread_id": outcome.run}}
    tickets, before = list_tickets(own_home), opened.runner.graph.get_state(at)
    change = await replayed(outcome.run, label="hardware_request", models=FakeModels(parsed=TICKET))
    assert change.after["tools"] == ["create_ticket: done"]
    assert list_tickets(own_home) == tickets
    assert opened.runner.graph.get_state(at) == before
    store = Store(own_home / "store.sqlite")
    assert [row["run_id"] for row in store.runs()] == [outcome.run]
    assert {row["run_id"] for row in store.runs(RunFilter(shadow=True))} == {outcome.run, change.replayed}


async def test_a_replay_does_not_ask_the_cache() -> None:
    cache = FakeCache()
    outcome, _ = await production(cache=cache)
    kept = dict(cache.kept)
    assert kept
    assert (await replayed(outcome.run, cache=cache)).after["path"] == "rag-slm"
    assert cache.kept == kept


async def test_a_waiting_run_is_compared_as_waiting() -> None:
    outcome, _ = await production("hr_confidential")
    assert outcome.waiting
    change = await replayed(outcome.run, label="hr_confidential")
    assert (change.before["status"], change.after["status"]) == ("waiting", "waiting")
    assert not change.changed


async def test_unknown_runs_are_named_before_any_is_replayed() -> None:
    outcome, _ = await production()
    opened = open_for_replay(HELPDESK, change=fakes())
    with pytest.raises(RunError, match="no run nope") as raised:
        await replay([outcome.run, "nope"], opened)
    assert raised.value.code == "SG603"


async def test_a_workflow_with_effects_is_refused() -> None:
    outcome, _ = await production()
    opened: Opened = open_workflow(HELPDESK, change=fakes())
    with pytest.raises(RunError, match="without effects"):
        await replay([outcome.run], opened)
