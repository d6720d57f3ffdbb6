"""Stepping: one node at a time, back, edited, forked, decided, opened again; the original stays as it was."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import ConfigError, RunError
from sluicegate.graphs.runtime.factory import open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.session.session import Session
from sluicegate.state import State
from tests.support.fakes import (
    FakeCache,
    FakeGuards,
    FakeModels,
    FakeRetriever,
)
from tests.support.helpdesk import ANSWERED, HELPDESK, TICKET, fakes, list_tickets, production, start, way


def stored(opened: Any, run: str) -> list[Any]:
    config: Any = {"configurable": {"thread_id": run}}
    return [
        (s.config["configurable"]["checkpoint_id"], s.values) for s in opened.runner.graph.get_state_history(config)
    ]


@pytest.mark.slow
def test_a_step_runs_one_node_and_says_what_it_changed() -> None:
    session = start()
    assert (session.node, session.status, way(session)) == ("classify", "running", [])
    step = session.step()
    assert step.node == "classify"
    assert step["intent.label"].before is None
    assert step["intent.label"].after == "password_reset"
    assert step.branch is not None
    assert step.branch["to"] == "gate"
    assert {change.field.partition(".")[0] for change in step.changes} == {"intent", "route"}
    assert session.node == "gate"
    assert "verdict" in repr(session.step())
    assert way(session) == ["classify", "gate"]


@pytest.mark.slow
def test_steps_come_to_the_same_end_as_a_run() -> None:
    session = start()
    steps = [session.step().node for _ in ANSWERED]
    assert steps == ANSWERED
    assert (session.node, session.status) == (None, "answered")
    with pytest.raises(RunError, match="has ended") as raised:
        session.step()
    assert raised.value.code == "SG615"
    other = start().run()
    assert way(other) == ANSWERED
    assert not [change for change in session.compare(other).changes if change.field != "answer"]


@pytest.mark.slow
def test_run_until_stops_before_the_node() -> None:
    session = start().run(until="check")
    assert session.node == "check"
    assert way(session) == ANSWERED[:5]
    session.run()
    assert way(session) == ANSWERED
    with pytest.raises(RunError, match=r"no node 'chekc'.*Did you mean 'check'"):
        start().run(until="chekc")


@pytest.mark.slow
def test_a_cycle_is_stepped_through() -> None:
    session = start(guards=FakeGuards({"grounded": "escalate"}, {"grounded"}))
    session.run(until="check").run(until="check")
    assert way(session)[-2:] == ["check", "synthesize"]
    session.rewind("check", visit=1)
    assert way(session) == ANSWERED[:5]


@pytest.mark.slow
def test_rewind_stands_before_the_node_again() -> None:
    session = start().run()
    assert session.rewind("facts").node == "facts"
    assert way(session) == ["classify", "gate", "recall"]
    assert "documents" not in session.state
    assert session.rewind().node == "recall"
    session.run()
    assert way(session) == ANSWERED
    assert session.state["run"]["visits"]["facts"] == 1
    with pytest.raises(RunError, match=r"has not reached node 'approve'.*It has visited: classify"):
        session.rewind("approve")
    session.rewind("classify")
    with pytest.raises(RunError, match="at its start"):
        session.rewind()


@pytest.mark.slow
def test_an_edit_is_decided_on_and_is_in_the_trail() -> None:
    session = start().run(until="answer")
    step = session.edit(intent="outage_report")
    assert session.node == "synthesize"
    assert step["intent.task"].after == "synthesis"
    assert session.state["intent"]["risk"] == "low"
    assert session.trail[-1]["kind"] == "edit"
    assert session.trail[-1]["branch"]["reason"] == "edited: intent; intent.task == 'synthesis' held"
    session.run()
    assert session.facts["path"] == "rag-llm"


@pytest.mark.slow
def test_an_edited_draft_is_checked_and_never_cached() -> None:
    cache, guards = FakeCache(), FakeGuards()
    session = start(cache=cache, guards=guards).run(until="check")
    session.edit(answer={"text": "Ask Bob for his password."})
    session.run()
    assert session.state["answer"]["text"] == "Ask Bob for his password."
    assert "Ask Bob for his password." in [text for _, text, stage in guards.asked if stage == "output"]
    assert cache.kept == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"answr": {"text": "x"}}, "Did you mean 'answer'"),
        ({"intent": {"labl": "x"}}, "Did you mean 'label'"),
        ({"intent": "pasword_reset"}, "Did you mean 'password_reset'"),
        ({"answer": {"text": "x"}}, "no answer yet"),
        ({"intent": 3}, "intent is a map"),
        ({"principal": {"id": "root"}}, "cannot change 'principal'"),
        ({"tool_calls": []}, "cannot change 'tool_calls'"),
    ],
)
def test_what_cannot_be_edited(edit: dict[str, Any], said: str) -> None:
    session = start()
    session.step()
    with pytest.raises(RunError, match=said) as raised:
        session.edit(**edit)
    assert raised.value.code == "SG615"
    assert way(session) == ["classify"]


@pytest.mark.slow
def test_the_request_can_be_edited_before_the_first_node() -> None:
    session = start()
    session.edit(request={"text": "Something else"})
    session.run()
    assert session.state["request"]["text"] == "Something else"
    assert way(session) == ANSWERED


@pytest.mark.slow
def test_a_fork_is_a_run_of_its_own() -> None:
    session = start().run()
    fork = session.fork(at="facts")
    assert fork.run_id != session.run_id
    assert fork.forked_from == session.run_id
    assert fork.dry
    assert fork.state["run"]["shadow"]
    assert way(fork) == ["classify", "gate", "recall"]
    fork.edit(intent="outage_report")
    fork.run()
    assert way(session) == ANSWERED
    comparison = session.compare(fork)
    assert {"intent", "path", "way"} <= {change.field for change in comparison.changes}
    # its past came along
    assert fork.rewind("gate").node == "gate"


@pytest.mark.slow
def test_fork_under_another_threshold() -> None:
    session = start(confidence=0.9).run()
    fork = session.fork(at="facts", threshold=0.95)
    assert fork.workflow.digest != session.workflow.digest
    assert fork.workflow.config.router.threshold == 0.95
    fork.run()
    assert fork.facts["path"] == "rag-llm"
    assert session.facts["path"] == "rag-slm"


@pytest.mark.slow
def test_fork_under_another_prompt_and_model() -> None:
    session = start().run(until="answer")
    text = "---\nid: answer\nversion: 9\n---\nBe short. {{question}} {{sources}} {{feedback}}"
    fork = session.fork(prompt=text, model="embedded:smollm2-135m")
    folder = fork.workflow.prompt_folders[0]
    assert [file.name for file in folder.glob("*.md")] == ["answer.md"]
    assert (folder / "answer.md").read_text() == text
    assert fork.workflow.config.models["slm"].use == "embedded:smollm2-135m"
    large, before = fork.workflow.config.models["llm"], session.workflow.config.models["llm"]
    assert large.model_dump() == before.model_dump()
    assert way(fork.run()) == ANSWERED
    with pytest.raises(ConfigError, match=r"unknown prompt 'answr'.*did you mean 'answer'"):
        session.fork(prompt={"answr": text})
    with pytest.raises(ConfigError, match="unknown model 'small'"):
        session.fork(model={"small": "ollama:x"})


@pytest.mark.slow
def test_fork_under_another_config(tmp_path: Path) -> None:
    other = tmp_path / "other" / "workflow.yaml"
    other.parent.mkdir()
    base = HELPDESK.resolve()
    other.write_text(f"extends: {base}\nworkflow: helpdesk\nversion: 2\nbudget: {{per_run_usd: 0.01}}\n")
    session = start().run()
    fork = session.fork(at="facts", config=other).run()
    assert fork.state["run"]["version"] == "2"
    assert way(fork) == ANSWERED


@pytest.mark.slow
async def test_a_fork_of_production_repeats_no_effect(own_home: Path) -> None:
    outcome, _ = await production("hardware_request", models=FakeModels(parsed=TICKET))
    assert [call["status"] for call in outcome.state["tool_calls"]] == ["done"], outcome.state
    tickets = list_tickets(own_home)
    session = Session.open(outcome.run, change=fakes("hardware_request", models=FakeModels(parsed=TICKET)))
    session.rewind("act").run()
    assert session.run_id != outcome.run
    assert session.state["tool_calls"][0]["result"]["id"] == "not-called"
    assert list_tickets(own_home) == tickets


@pytest.mark.slow
@pytest.mark.parametrize(
    "touch",
    [
        lambda s: s.rewind("facts"),
        lambda s: s.edit(answer={"text": "x"}),
        lambda s: s.fork().rewind().run(),
        lambda s: s.rewind().run(),
    ],
    ids=["rewind", "edit", "fork", "run"],
)
async def test_a_production_run_is_never_touched(touch: Callable[[Session], Any]) -> None:
    outcome, opened = await production()
    before = stored(opened, outcome.run)
    session = Session.open(outcome.run, change=fakes())
    assert (session.run_id, way(session)) == (outcome.run, ANSWERED)
    touch(session)
    assert stored(opened, outcome.run) == before


@pytest.mark.slow
async def test_a_waiting_production_run_is_decided_on_a_copy() -> None:
    outcome, opened = await production("hr_confidential")
    assert outcome.waiting
    session = Session.open(outcome.run, change=fakes("hr_confidential"))
    assert session.status == "waiting"
    session.approve(as_="lea", role="helpdesk-lead", reason="fine")
    session.run()
    assert session.status == "answered"
    assert opened.runner.waiting(outcome.run) is not None


@pytest.mark.slow
def test_a_person_decides_and_stepping_goes_on() -> None:
    session = start(label="hr_confidential").run()
    assert (session.status, session.node) == ("waiting", "approve")
    with pytest.raises(RunError, match=r"waits for role:helpdesk-lead.*approve\(\)"):
        session.step()
    with pytest.raises(RunError) as raised:
        session.approve(as_="ann", role="employee")
    assert raised.value.code == "SG610"
    step = session.edit_draft("Mended.", as_="lea", role="helpdesk-lead", reason="clearer")
    assert step["approval.verdict"].after == "edit"
    assert session.node == "respond"
    session.step()
    assert (session.status, session.state["answer"]["text"]) == ("answered", "Mended.")
    session.rewind("approve").step()
    assert session.status == "waiting"
    session.reject(as_="lea", role="helpdesk-lead", reason="no")
    assert session.run().status == "refused"
    with pytest.raises(RunError, match="not waiting"):
        session.approve(as_="lea", role="helpdesk-lead")


@pytest.mark.slow
def test_a_session_outlives_its_process(own_home: Path) -> None:
    script = (
        "from tests.support.helpdesk import start\n"
        "s = start().run().rewind('facts'); s.step(); f = s.fork(threshold=0.95); print(s.run_id, f.run_id)"
    )
    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    session, fork = (Session.open(run, change=fakes()) for run in said)
    assert (session.run_id, session.node) == (said[0], "answer")
    session.run()
    assert way(session) == ANSWERED
    assert session.run_id == said[0]
    assert fork.workflow.config.router.threshold == 0.95
    assert fork.dry
    assert fork.rewind("facts").run().facts["path"] == "rag-llm"
    assert fork.run_id == said[1]


@pytest.mark.slow
async def test_plain_and_awaited_inside_a_running_loop() -> None:
    session = start()
    session.step()
    await session.astep()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    await session.arun()
    ticking.cancel()
    assert way(session) == ANSWERED
    assert ticks > 1, "the caller's loop stood still"


@pytest.mark.slow
def test_one_trace_with_every_step(own_home: Path) -> None:
    from sluicegate.observe.tracing.reading.filters import RunFilter
    from sluicegate.observe.tracing.store import Store

    session = start()
    for _ in ANSWERED:
        session.step()
    fork = session.fork(at="check").run()
    store = Store(own_home / "store.sqlite")
    run = store.run(session.run_id)
    assert (run["status"], run["path"], bool(run["shadow"])) == ("answered", "rag-slm", False)
    assert [decision["node"] for decision in store.decisions(session.run_id)] == ANSWERED[:-1]
    names = [score["name"] for score in store.scores(session.run_id)]
    assert len(names) == len(set(names)), "a step is not a run's end"
    assert [row["run_id"] for row in store.runs()] == [session.run_id]
    assert {row["run_id"] for row in store.runs(RunFilter(shadow=True))} == {session.run_id, fork.run_id}


@pytest.mark.slow
def test_a_node_that_fails_can_be_tried_again() -> None:
    class Broken(FakeRetriever):
        fails = True

        async def search(self, *given: Any, **more: Any) -> Any:
            if self.fails:
                raise OSError("no disk")
            return await super().search(*given, **more)

    retriever = Broken()
    session = start(retriever=retriever).run(until="facts")
    with pytest.raises(RunError, match=r"facts \(retrieve\) failed"):
        session.step()
    assert session.node == "facts"
    retriever.fails = False
    assert way(session.run()) == ANSWERED


# --- bad input ---


def test_a_run_that_does_not_exist() -> None:
    with pytest.raises(RunError, match="no run nope") as raised:
        Session.open("nope")
    assert raised.value.code == "SG603"


@pytest.mark.slow
async def test_a_run_that_is_not_yours_to_see() -> None:
    outcome, _ = await production()
    with pytest.raises(RunError, match="does not let eve see") as raised:
        Session.open(outcome.run, as_="eve", role="employee", change=fakes())
    assert raised.value.code == "SG610"
    assert Session.open(outcome.run, as_="ann", role="employee", change=fakes()).run_id == outcome.run
    assert Session.open(outcome.run, as_="olaf", role="operator", change=fakes()).run_id == outcome.run


@pytest.mark.slow
def test_a_corrupt_store(own_home: Path) -> None:
    session = start()
    (own_home / "checkpoints.sqlite").write_bytes(b"not a database at all" * 500)
    for leftover in own_home.glob("checkpoints.sqlite-*"):
        leftover.unlink()
    with pytest.raises(RunError) as raised:
        Session.open(session.run_id)
    assert raised.value.code == "SG606"


@pytest.mark.slow
def test_a_checkpoint_with_a_broken_value(own_home: Path) -> None:
    import sqlite3

    session = start()
    with closing(sqlite3.connect(own_home / "checkpoints.sqlite")) as database, database:
        database.execute("UPDATE checkpoints SET checkpoint = x'c1c1c1'")
    with pytest.raises(RunError, match="cannot read the checkpoint") as raised:
        Session.open(session.run_id)
    assert raised.value.code == "SG606"


@pytest.mark.slow
def test_a_store_of_a_newer_version(own_home: Path) -> None:
    import sqlite3

    session = start().run()
    with closing(sqlite3.connect(own_home / "store.sqlite")) as database, database:
        database.execute("PRAGMA user_version = 999")
    with pytest.raises(RunError) as raised:
        Session.open(session.run_id, change=fakes())
    assert raised.value.code == "SG612"


@pytest.mark.slow
def test_empty_request() -> None:
    with pytest.raises(RunError) as raised:
        Session.start(HELPDESK, "  ", change=fakes())
    assert raised.value.code == "SG601"


@pytest.mark.slow
def test_state_is_plain_data() -> None:
    import json

    state: State = json.loads(json.dumps(start().run().state))
    assert state["run"]["session"] == "started"


@pytest.mark.slow
async def test_a_run_is_opened_on_the_version_it_began_with(tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "helpdesk"
    shutil.copytree(HELPDESK.parent, copy)
    config = copy / "workflow.yaml"
    opened = open_workflow(config, change=fakes())
    outcome = await opened.runner.run("How do I reset it?", principal("ann", ["employee"]))
    (copy / "prompts" / "answer.md").write_text(
        "---\nid: answer\nversion: 99\n---\n{{sources}} {{question}} {{feedback}}"
    )
    session = Session.open(outcome.run, change=fakes())
    assert session.workflow.digest == opened.workflow.digest
    assert session.workflow.path != config
    with pytest.raises(RunError) as raised:
        Session.open(outcome.run, config=config, change=fakes())
    assert raised.value.code == "SG604"
    fork = session.fork(at="answer", config=config).run()
    assert fork.workflow.digest != session.workflow.digest
    assert way(fork) == ANSWERED
    shutil.rmtree(copy)
    assert way(Session.open(outcome.run, change=fakes()).rewind("facts").run()) == ANSWERED
