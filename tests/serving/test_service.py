"""The service in the process: many at a time, one run per request id, bounds, versions that change, runs that were cut
short."""

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sluicegate import Limits, Service
from sluicegate.errors import RunError
from sluicegate.evals.promotion import champions
from sluicegate.graphs.config.load import load
from sluicegate.graphs.runtime.checkpoints import Checkpoints
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.runtime.loop_thread import elsewhere
from sluicegate.graphs.runtime.versions import kept
from sluicegate.graphs.session.checkpoint_reader import all_waiting, overdue
from sluicegate.home import home
from sluicegate.observe.tracing.spans import RunInfo, trace_id
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.tracing.storing.writes import Writes
from sluicegate.observe.tracing.tracer import RecordingTracer
from sluicegate.serving.execution.recovery import Recovery
from sluicegate.serving.limits import Busy
from tests.support import ROOT, stand
from tests.support.promoting import promote
from tests.support.summarising import ASKED, PATTERN, SENT, SUMMARY, summarising
from tests.support.waiting import soon

ANN, BEN = principal("ann", ["employee"]), principal("ben", ["employee"])
LEAD = principal("lea", ["helpdesk-lead"])


@pytest.fixture
async def desk() -> AsyncIterator[Service]:
    async with stand.service() as service:
        yield service


def models(service: Service) -> stand.Patient:
    # behind the tracing
    found: Any = service.versions.serving.runner.services.models
    return found


async def test_a_question_is_answered(desk: Service) -> None:
    outcome = await desk.ask("How do I reset it?", ANN)
    assert (outcome.status, outcome.text) == ("answered", "Version 1 [1].")
    assert outcome.state["request"]["channel"] == "api"


@pytest.mark.slow
async def test_an_answer_comes_in_pieces_as_they_pass_their_checks_and_then_whole() -> None:
    async with stand.service(PATTERN, open_version=summarising) as service:
        told = [one async for one in service.stream(ASKED, ANN)]
    *pieces, outcome = told
    assert "".join(pieces) == SENT  # type: ignore[arg-type]
    assert len(pieces) > 1
    assert outcome.text == SUMMARY  # type: ignore[union-attr]


async def test_who_stops_listening_stops_nothing(desk: Service) -> None:
    with pytest.raises(RunError, match="SG601"):
        [one async for one in desk.stream("", ANN)]
    stream = desk.stream("hold", ANN, request_id="left")
    waiting = asyncio.ensure_future(anext(stream))
    await soon(lambda: desk.inside == 1)
    waiting.cancel()
    stand.let_go()
    assert (await desk.ask("hold", ANN, request_id="left")).status == "answered"


def test_the_same_without_an_event_loop() -> None:
    with stand.service() as service:
        assert service.ask_now("How do I reset it?", ANN).status == "answered"
    with pytest.raises(Busy):
        service.ask_now("And after its end?", ANN)


@pytest.mark.slow
async def test_many_at_a_time_and_no_more_than_there_are_turns() -> None:
    async with stand.service(limits=Limits(running=3, per_principal=100)) as service:
        asking = [asyncio.create_task(service.ask(f"hold {number}", ANN)) for number in range(12)]
        await soon(lambda: service.inside == 12 and models(service).at_once == 3)
        stand.let_go()
        outcomes = await asyncio.gather(*asking)
        assert {outcome.status for outcome in outcomes} == {"answered"}
        assert len({outcome.run for outcome in outcomes}) == 12
        assert models(service).most_at_once == 3


@pytest.mark.slow
async def test_what_does_not_fit_is_turned_away_at_once() -> None:
    async with stand.service(limits=Limits(running=1, waiting=2, per_principal=2)) as service:
        inside = [asyncio.create_task(service.ask("hold", who)) for who in (ANN, ANN, BEN)]
        await soon(lambda: service.inside == 3)
        with pytest.raises(Busy) as mine:
            await service.ask("A third of mine", ANN)
        with pytest.raises(Busy) as everybodys:
            await service.ask("A fourth", principal("eve"))
        assert not any(task.done() for task in inside)
        stand.let_go()
        assert (mine.value.theirs, everybodys.value.theirs) == (True, False)
        assert {outcome.status for outcome in await asyncio.gather(*inside)} == {"answered"}
        assert (await service.ask("There is room again", ANN)).status == "answered"


@pytest.mark.slow
async def test_a_request_id_is_one_run_however_often_it_is_asked(desk: Service) -> None:
    same = [desk.ask("wait 0.1", ANN, request_id="r-1") for _ in range(5)]
    runs = {outcome.run for outcome in await asyncio.gather(*same)}
    again = await desk.ask("  wait 0.1\r\n", ANN, request_id="r-1")
    assert runs == {again.run}
    assert again.text == "Version 1 [1]."
    assert len(desk._store.runs()) == 1
    assert (await desk.ask("wait 0.1", BEN, request_id="r-1")).run != again.run
    with pytest.raises(RunError, match="used for another request") as raised:
        await desk.ask("Something else", ANN, request_id="r-1")
    assert raised.value.code == "SG621"


async def test_a_caller_that_goes_away_cancels_nothing(desk: Service) -> None:
    asking = asyncio.create_task(desk.ask("hold", ANN, request_id="gone"))
    await soon(lambda: models(desk).at_once == 1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    stand.let_go()
    row: dict[str, Any] = {}
    while row.get("status") != "answered":
        await asyncio.sleep(0.01)
        outcome, row = await desk.find(desk.run_id(ANN, "gone"), ANN)
    assert (outcome.status, row["status"]) == ("answered", "answered")  # type: ignore[union-attr]


async def test_closing_waits_for_what_is_at_work_and_takes_nothing_more() -> None:
    service = stand.service()
    await service.open()
    asking = asyncio.create_task(service.ask("hold", ANN))
    await soon(lambda: models(service).at_once == 1)
    closing = asyncio.create_task(service.close())
    await soon(lambda: not service.ready)
    with pytest.raises(Busy, match="closing"):
        await service.ask("Too late", ANN)
    assert not asking.done()
    stand.let_go()
    await closing
    assert (await asking).status == "answered"


async def test_steps_are_told_and_drafts_are_not(desk: Service) -> None:
    steps: list[Any] = []
    await desk.ask("How?", ANN, on_step=steps.append)
    assert [step["node"] for step in steps] == ["classify", "gate", "recall", "facts", "answer", "check", "respond"]
    assert "Version 1" not in str(steps)
    await desk.ask("And unheard?", ANN)
    assert len(steps) == 7


# --- the shadow comes after ---


class Held(stand.NoShadow):
    def __init__(self, workflow: str) -> None:
        super().__init__(workflow)
        self.released = threading.Event()

    def offer(self, outcome: Any) -> str:
        self.released.wait(100)
        return super().offer(outcome)


async def test_the_shadow_is_offered_what_the_caller_has() -> None:
    async with stand.service(beside=Held) as service:
        shadow: Any = service._shadow
        outcome = await service.ask("How?", ANN, request_id="r")
        assert shadow.offered == []
        shadow.released.set()
        # once, however often the same is asked
        assert (await service.ask("How?", ANN, request_id="r")).run == outcome.run
        other = await service.ask("And another?", ANN)
        await soon(lambda: other.run in shadow.offered)
        assert shadow.offered == [outcome.run, other.run]


class Broken(stand.NoShadow):
    state = "running"

    def offer(self, outcome: Any) -> str:
        raise ZeroDivisionError

    def refresh(self) -> None:
        raise OSError("nothing works")


@pytest.mark.slow
async def test_a_shadow_that_breaks_breaks_nothing() -> None:
    async with stand.service(beside=Broken) as service:
        for number in range(3):
            assert (await service.ask(f"How {number}?", ANN)).status == "answered"


# --- which version serves ---


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """A champion and a challenger, both known to the home."""
    folder = tmp_path / "flow"
    shutil.copytree(stand.WORKFLOW, folder)
    home()
    return folder / "workflow.yaml", folder / "challenger" / "workflow.yaml"


async def said_by(service: Service, wanted: str) -> None:
    """Ask until this version answers."""
    while (await service.ask("Who?", ANN)).text != f"Version {wanted} [1].":
        await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_promotion_and_rollback_are_seen_without_a_restart(two: tuple[Path, Path], each_place: str) -> None:
    opened: list[str] = []

    def open_version(source: Any) -> Any:
        opened.append(str(source))
        return stand.version(source)

    async with stand.service(two[0], open_version=open_version) as service:
        await said_by(service, "1")
        under_way = asyncio.create_task(service.ask("hold", ANN))
        waits = await service.ask("access please", ANN)
        await soon(lambda: models(service).at_once == 1)
        promote(*two)
        await said_by(service, "2")
        # what had begun goes on where it began, also when a person decides later
        stand.let_go()
        assert (await under_way).text == "Version 1 [1]."
        decided = await service.decide(waits.run, "approve", LEAD)
        assert (decided.status, decided.state["run"]["version"]) == ("answered", "1")
        champions.rollback(service.name, by="ops", reason="slow")
        await said_by(service, "1")
        assert service.versions.promoted == 3
        # each version was opened once: it is open still
        assert len(opened) == 2


ELSEWHERE = """
import sys
from pathlib import Path
from sluicegate.evals.promotion import champions
from tests.support.promoting import promote
files = [Path(name) for name in sys.argv[1:]]
promote(*files) if files else champions.rollback("shadow-evaluation", by="ops", reason="slow")
"""


@pytest.mark.slow
async def test_what_another_machine_promotes_and_takes_back_is_followed(
    two: tuple[Path, Path], postgres: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SLUICEGATE_DATABASE_URL", postgres)
    there = {**os.environ, "SLUICEGATE_HOME": str(tmp_path / "there")}

    async def there_is(*files: Path) -> None:
        command = [sys.executable, "-c", ELSEWHERE, *map(str, files)]
        await asyncio.to_thread(subprocess.run, command, env=there, cwd=ROOT, check=True)

    async with stand.service(two[0]) as service:
        await said_by(service, "1")
        waits = await service.ask("access please", ANN)
        await there_is(*two)
        await said_by(service, "2")
        decided = await service.decide(waits.run, "approve", LEAD)
        assert (decided.status, decided.state["run"]["version"]) == ("answered", "1")
        await there_is()
        await said_by(service, "1")


@pytest.mark.slow
async def test_what_was_promoted_serves_after_a_restart_unless_pinned(two: tuple[Path, Path]) -> None:
    async with stand.service(two[0]) as service:
        await service.ask("Who?", ANN)
    promote(*two)
    async with stand.service(two[0]) as service:
        assert (await service.ask("Who?", ANN)).text == "Version 2 [1]."
    async with stand.service(two[0], follow=False) as service:
        assert (await service.ask("Who?", ANN)).text == "Version 1 [1]."


@pytest.mark.slow
async def test_a_version_that_cannot_be_opened_changes_nothing_but_the_fault(two: tuple[Path, Path]) -> None:
    async with stand.service(two[0]) as service:
        await service.ask("Who?", ANN)
        promote(*two)
        served = kept(load(two[1]).digest)
        await asyncio.to_thread(service.versions.refresh)
        assert (await service.ask("Who?", ANN)).text == "Version 2 [1]."
        champions.rollback(service.name, by="ops", reason="no")
        await said_by(service, "1")
        # another copy, broken
        broken = served.with_name("broken.yaml")
        broken.write_text("workflow: [")
        champions.promote(
            service.name, path=broken, digest="none", before=(two[0], "x"), by="ops", facts={"reason": "a mistake"}
        )
        await soon(lambda: service.versions.fault)
        assert service.versions.fault is not None
        assert service.versions.fault.code == "SG102"
        assert (await service.ask("Who?", ANN)).text == "Version 1 [1]."
        champions.rollback(service.name, by="ops", reason="undo")
        await soon(lambda: service.versions.fault is None)


@pytest.mark.slow
async def test_a_run_of_a_changed_workflow_is_refused_until_it_is_said_how(two: tuple[Path, Path]) -> None:
    async with stand.service(two[0]) as service:
        waits = [await service.ask(f"access please {number}", ANN) for number in range(2)]
    two[0].write_text(two[0].read_text().replace("version: 1", "version: 3"))
    async with stand.service(two[0]) as service:
        with pytest.raises(RunError) as raised:
            await service.decide(waits[0].run, "approve", LEAD)
        assert raised.value.code == "SG604"
        done = await service.decide(waits[0].run, "approve", LEAD, changed="kept")
        assert (done.status, done.state["run"]["version"]) == ("answered", "1")


# --- what is left behind ---


@pytest.mark.slow
async def test_who_decides_and_who_sees_is_asked_of_policy(desk: Service) -> None:
    waits = await desk.ask("access please", ANN)
    assert waits.text == ""
    assert [each["run"] for each in await desk.approvals(LEAD)] == [waits.run]
    assert await desk.approvals(ANN) == []
    # who may see the run is told why they may not decide; for others there is no such run
    for who, code in ((ANN, "SG610"), (BEN, "SG603")):
        with pytest.raises(RunError) as raised:
            await desk.approval(waits.run, who)
        assert raised.value.code == code
        with pytest.raises(RunError) as raised:
            await desk.decide(waits.run, "approve", who)
        assert raised.value.code == code
    with pytest.raises(RunError) as raised:
        await desk.find(waits.run, BEN)
    assert raised.value.code == "SG603"
    with pytest.raises(RunError):
        await desk.find(waits.run[:8], ANN)
    assert (await desk.find(waits.run, principal("olga", ["auditor"])))[0] is not None
    done = await desk.decide(waits.run, "edit", LEAD, text="Ask your manager first.")
    assert (done.status, done.text) == ("answered", "Ask your manager first.")
    with pytest.raises(RunError) as raised:
        await desk.decide(waits.run, "approve", LEAD)
    assert raised.value.code == "SG605"


async def test_a_wait_past_its_deadline_is_refused_by_the_service_itself(desk: Service) -> None:
    waits = await desk.ask("access please", ANN)
    now = stand.clock() + timedelta(hours=2)
    runner: Any = desk.versions.serving.runner
    runner.services = replace(runner.services, now=lambda: now)
    await elsewhere(desk.executor.sweep.once())
    outcome, _ = await desk.find(waits.run, ANN)
    assert outcome is not None
    assert (outcome.status, outcome.state["approval"]["verdict"]) == ("refused", "timeout")


async def test_what_was_cut_short_is_found_by_its_channel(own_home: Path) -> None:
    home()
    store = Store(own_home / "store.sqlite")
    tracer = RecordingTracer(store)
    scope = tracer.run("left", workflow="flow", digest="d", metadata={"channel": "api"})
    scope.__enter__()
    tracer.flush()
    store._connection.execute("UPDATE runs SET started_ns = started_ns - 10000000000")
    assert Recovery(own_home, store, channel="api").cut_short("flow") == [("left", "d")]
    assert Recovery(own_home, store, channel="slack").cut_short("flow") == []
    scope.__exit__(None, None, None)
    store.close()


def interrupted(desk: Service, runs: list[str], text: str) -> None:
    """Runs that a killed process has begun, each before its first node."""
    runner, workflow = desk.versions.serving.runner, desk.versions.serving.workflow
    begun: list[Any] = []
    for run in runs:
        runner.begin(runner.opening(text, ANN, channel="api", run=run))
        facts = (workflow.name, workflow.version, workflow.digest, "", "ann", "", "")
        begun.append((RunInfo(run, trace_id(run), *facts, False, metadata={"channel": "api"}, request=text), 1))
    desk._store.write(Writes(begun=begun))


@pytest.mark.slow
async def test_interrupted_runs_are_resumed_side_by_side_and_no_more_than_may_run() -> None:
    async with stand.service(limits=Limits(running=3)) as desk:
        runs = [f"r-{number}" for number in range(7)]
        interrupted(desk, runs, "wait 0.3")
        await elsewhere(desk.executor.sweep.once())
        assert {desk._store.run(run)["status"] for run in runs} == {"answered"}
        assert 1 < models(desk).most_at_once <= 3


@pytest.mark.slow
async def test_deadlines_do_not_wait_for_recoveries(desk: Service) -> None:
    waits = await desk.ask("access please", ANN)
    interrupted(desk, ["long"], "wait 5")
    now = stand.clock() + timedelta(hours=2)
    runner: Any = desk.versions.serving.runner
    runner.services = replace(runner.services, now=lambda: now)
    sweep = asyncio.ensure_future(elsewhere(desk.executor.sweep.once()))
    while desk._store.run(waits.run)["status"] != "refused":
        assert not sweep.done()
        await asyncio.sleep(0.05)
    assert desk._store.run("long")["status"] == "running"
    await sweep


@pytest.mark.slow
async def test_a_run_that_ended_or_waits_without_its_record_gets_it_at_the_next_sweep(desk: Service) -> None:
    answered, waits = await desk.ask("How?", ANN), await desk.ask("access please", ANN)
    before = {run: desk._store.run(run) for run in (answered.run, waits.run)}
    lost = "UPDATE runs SET status = 'running', path = NULL, answer = NULL, ended_ns = NULL, started_ns = 1"
    desk._store._connection.execute(lost)
    await elsewhere(desk.executor.sweep.once())
    for run, row in before.items():
        after = desk._store.run(run)
        assert [after[key] for key in ("status", "path", "answer", "usd")] == [
            row[key] for key in ("status", "path", "answer", "usd")
        ]
        assert after["ended_ns"]
    spans = desk._store.last()
    await elsewhere(desk.executor.sweep.once())
    assert desk._store.last() == spans


async def test_a_sweep_finds_interrupted_runs_by_an_index(own_home: Path) -> None:
    home()
    store = Store(own_home / "store.sqlite")
    asked: list[str] = []
    store._connection.set_trace_callback(asked.append)
    assert Recovery(own_home, store, channel="api").cut_short("flow") == []
    store._connection.set_trace_callback(None)
    [plan] = store.query(f"EXPLAIN QUERY PLAN {asked[0]}")
    assert plan["detail"] == "SEARCH runs USING INDEX runs_at_work (workflow=? AND started_ns<?)"
    store.close()


@pytest.mark.slow
async def test_a_sweep_reads_what_is_new_and_what_is_due_and_nothing_else(
    desk: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    get_tuple = Checkpoints.get_tuple

    def counted(self: Checkpoints, config: Any) -> Any:
        read.append(config["configurable"]["thread_id"])
        return get_tuple(self, config)

    waits = [await desk.ask(f"access please {number}", ANN) for number in range(5)]
    monkeypatch.setattr(Checkpoints, "get_tuple", counted)
    await elsewhere(desk.executor.sweep.once())
    assert sorted(read) == sorted(each.run for each in waits)
    read.clear()
    await elsewhere(desk.executor.sweep.once())
    assert read == []
    new = await desk.ask("access please, too", ANN)
    await desk.decide(waits[0].run, "approve", LEAD)
    read.clear()
    await elsewhere(desk.executor.sweep.once())
    assert read == [new.run]
    read.clear()
    # of what is due now, only those that still wait
    assert {run["id"] for run in overdue(desk.name, stand.clock() + timedelta(hours=2))} == {
        each.run for each in (*waits[1:], new)
    }
    assert len(read) == 5
    assert {run["id"] for run in all_waiting(desk.name)} == {each.run for each in (*waits[1:], new)}
    assert all_waiting("other") == []
