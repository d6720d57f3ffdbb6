"""Stepping over a workflow within another one, and into it; its runs in traces, replays and erasures."""

import asyncio
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import RunError
from sluicegate.graphs.runtime.checkpoints import open_checkpoints
from sluicegate.graphs.session.replay import open_for_replay, replay
from sluicegate.graphs.session.session import Session
from sluicegate.home import home
from sluicegate.observe.audit.verify import verify
from sluicegate.observe.tracing.store import Store
from sluicegate.retention.erase import erase
from sluicegate.services import Services
from sluicegate.storage.database import open_database, place
from sluicegate.storage.postgres import URL
from sluicegate.storage.schemas import LEDGER
from tests.support.fakes import FakeModels, FakeRouter
from tests.support.family import ANN, CLERK, edit, family, kyc_of, opened, without_people


@pytest.fixture
def claims(tmp_path: Path) -> Path:
    return family(tmp_path)


@pytest.fixture
def models() -> FakeModels:
    return FakeModels(usd=0.001)


def started(claims: Path, models: FakeModels) -> Session:
    def change(services: Services) -> Services:
        return replace(services, models=models, router=FakeRouter("identity"))

    return Session.start(claims, "My roof leaks", change=change)


def way(session: Session) -> list[str]:
    return [entry["node"] for entry in session.trail]


def threads() -> list[str]:
    with closing(open_checkpoints(place())) as checkpoints:
        return checkpoints.threads()


def test_a_child_is_one_step_and_can_be_stepped_into(claims: Path, models: FakeModels) -> None:
    session = started(without_people(claims), models)
    session.step()
    with pytest.raises(RunError, match="SG615"):
        session.inside()
    session.step()
    assert (way(session), session.node) == (["gate", "kyc"], "respond")
    inside = session.inside()
    assert inside.run_id == session.state["child"]["run"]
    assert (inside.workflow.name, inside.status) == ("kyc", "answered")
    assert way(inside) == ["gate", "draft", "check", "respond"]
    assert inside.state["request"]["text"] == "Identify: My roof leaks"
    assert "check" in repr(inside)


@pytest.mark.slow
def test_what_is_changed_inside_is_a_copy(claims: Path, models: FakeModels) -> None:
    session = started(without_people(claims), models)
    session.run()
    inside, before = session.inside(), session.state["child"]["run"]
    inside.rewind("respond")
    inside.edit(answer={"text": "It is Bob."})
    inside.run()
    assert inside.forked_from == before
    assert inside.state["answer"]["text"] == "It is Bob."
    assert "~" not in inside.run_id
    assert session.inside().state["answer"]["text"] == "Small answer [1]."
    assert session.state["answer"]["text"] == "Small answer [1]."


@pytest.mark.slow
def test_a_child_that_asks_can_be_looked_into_and_is_decided_through_its_parent(
    claims: Path, models: FakeModels
) -> None:
    session = started(claims, models)
    session.run()
    inside = session.inside()
    assert (session.status, session.node, inside.node) == ("waiting", "kyc", "approve")
    assert inside.state["answer"]["text"] == "Small answer [1]."
    session.approve(as_="cleo", role="clerk")
    session.run()
    assert session.status == "answered"
    assert session.inside().state["approval"]["by"] == "cleo"


@pytest.mark.slow
def test_going_back_before_a_child_makes_it_run_anew(claims: Path, models: FakeModels) -> None:
    session = started(without_people(claims), models)
    session.run()
    session.rewind("kyc")
    assert threads() == [session.run_id]
    models.answers["slm"] = "Another answer."
    session.run()
    assert session.state["answer"]["text"] == "Another answer."
    assert len(models.asked) == 2
    assert session.state["spend"]["slm_calls"] == 1


@pytest.mark.slow
def test_a_fork_under_another_model_has_it_in_the_child_too(claims: Path, models: FakeModels) -> None:
    session = started(without_people(claims), models)
    session.run()
    fork = session.fork(at="kyc", model="ollama:qwen3:4b")
    assert [one.config.models["slm"].use for one in fork.workflow.family] == ["ollama:qwen3:4b"] * 2
    fork.run()
    assert fork.status == "answered"
    assert fork.inside().state["run"]["digest"] == fork.workflow.children["kyc"].digest
    assert fork.inside().state["run"]["shadow"]
    assert session.inside().state["run"]["id"] != fork.inside().state["run"]["id"]


@pytest.mark.slow
def test_a_replay_runs_children_of_its_own(claims: Path) -> None:
    outcome = asyncio.run(opened(without_people(claims)).runner.run("My roof leaks", ANN))
    events = verify(home() / "audit").records

    def change(services: Services) -> Services:
        return replace(services, models=FakeModels(), router=FakeRouter("identity"))

    edit(kyc_of(claims), "guards: [length]", "guards: [length, secrets]")
    (again,) = asyncio.run(replay([outcome.run], open_for_replay(claims, change=change)))
    assert not again.changed
    shadows = [run for run in threads() if run.startswith(again.replayed)]
    assert len(shadows) == 2
    assert verify(home() / "audit").records == events


def test_the_trace_shows_the_steps_of_a_child_beneath_its_node(claims: Path) -> None:
    made = opened(without_people(claims))
    outcome = asyncio.run(made.runner.run("My roof leaks", ANN))
    made.tracer.flush()
    shown: Any = Store(home() / "store.sqlite").decisions(outcome.run)
    assert [each["node"] for each in shown] == ["gate", "kyc/gate", "kyc/draft", "kyc/check", "kyc"]


@pytest.mark.slow
def test_who_is_erased_is_erased_from_runs_within_runs(claims: Path) -> None:
    made = opened(claims)
    waiting = asyncio.run(made.runner.run("My roof leaks", ANN))
    asyncio.run(made.runner.decide(waiting.run, "approve", CLERK))
    made.tracer.flush()
    made.close()
    assert len(threads()) == 2
    done = asyncio.run(erase("ann", by="dpo"))
    assert done.removed["runs"] == 2
    assert threads() == []
    assert done.mentioned == []


@pytest.mark.slow
def test_who_is_erased_is_erased_from_a_servers_sums_too(
    claims: Path, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL, postgres_database)
    made = opened(claims)
    waiting = asyncio.run(made.runner.run("My roof leaks", ANN))
    asyncio.run(made.runner.decide(waiting.run, "approve", CLERK))
    made.tracer.flush()
    made.close()
    assert asyncio.run(erase("ann", by="dpo")).removed["runs"] == 2
    assert threads() == []
    with open_database(place(), LEDGER).reading() as execute:
        scopes = [row["scope"] for row in execute("SELECT scope FROM totals")]
    assert len([scope for scope in scopes if "erased-" in scope]) == 2
    assert not any("'ann'" in scope for scope in scopes)


@pytest.mark.slow
def test_a_turn_with_a_child(claims: Path) -> None:
    edit(claims, "start: gate", "conversation: {turns: 3}\nstart: gate")
    made = opened(without_people(claims))
    first = asyncio.run(made.runner.run("My roof leaks", ANN, session="talk"))
    second = asyncio.run(made.runner.run("And my window", ANN, session="talk"))
    assert [turn["run"] for turn in second.state["conversation"]["turns"]] == [first.run]
    assert first.state["child"]["run"] != second.state["child"]["run"]
    assert made.runner.conversations is not None
    assert [row.run for row in made.runner.conversations.turns("ann", "talk")] == [first.run, second.run]
