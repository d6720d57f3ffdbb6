"""What is accepted is on disk: found, known by its id, and refused or authorised before anything is opened for it."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sluicegate import Limits, Service
from sluicegate.errors import RunError
from sluicegate.graphs.config.load import load
from sluicegate.graphs.runtime.factory import Opened, open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.runtime.loop_thread import elsewhere
from sluicegate.graphs.runtime.versions import kept
from sluicegate.serving.limits import Busy
from sluicegate.serving.versions import Versions
from tests.support import stand

ANN, BEN = principal("ann", ["employee"]), principal("ben", ["employee"])
LEAD = principal("lea", ["helpdesk-lead"])
ONE = Limits(running=1, drain_s=0)
SPARE = 5
"""Descriptors of closed files that SQLite may keep, to use again, while another connection holds a lock of the file."""


def descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


async def fewest() -> int:
    """Descriptors, without those that background work has open for a moment."""
    counts: list[int] = []
    for _ in range(30):
        counts.append(descriptors())
        await asyncio.sleep(0.01)
    return min(counts)


@pytest.fixture
async def busy() -> AsyncIterator[Service]:
    """One run is at work and held, so that what is accepted waits for its turn."""
    async with stand.service(limits=ONE) as service:
        await service.accept("hold on", ANN, request_id="first")
        yield service


@pytest.mark.slow
async def test_what_waits_for_its_turn_is_found_here_and_by_other_services(busy: Service) -> None:
    accepted = await busy.accept("How?", ANN, request_id="queued")
    async with stand.service(limits=ONE) as other:
        for service in (busy, other):
            outcome, row = await service.find(accepted.run, ANN)
            assert outcome
            assert (outcome.status, row["status"], outcome.state["request"]["text"]) == ("running", "running", "How?")
            # the id is taken by its text, everywhere
            with pytest.raises(RunError) as raised:
                await service.accept("Something else", ANN, request_id="queued")
            assert raised.value.code == "SG621"
        assert models(other).asked == [], "it is in good hands"
    stand.let_go()
    assert (await accepted.outcome()).status == "answered"


def models(service: Service) -> Any:
    return service.versions.serving.runner.services.models


@pytest.mark.slow
async def test_what_was_waiting_for_its_turn_is_done_by_the_next_service() -> None:
    service = stand.service(limits=ONE)
    await service.open()
    waits = await service.ask("access please", ANN)
    held = await service.accept("hold on", ANN)
    queued = await service.accept("How?", ANN)
    decision = await service.accept_decision(waits.run, "approve", LEAD)
    await service.close()
    for accepted in (held, queued, decision):
        with pytest.raises(Busy):
            await accepted.outcome()
    stand.let_go()
    async with stand.service() as after:
        await until_ended(after, held.run, queued.run)
        outcome, _ = await after.find(waits.run, ANN)
        assert outcome
        assert (outcome.status, outcome.state["approval"]["by"]) == ("answered", "lea")


async def until_ended(service: Service, *runs: str) -> None:
    for run in runs:
        while (await service.find(run, ANN))[1]["status"] == "running":
            await elsewhere(service.executor.sweep.once())


async def test_a_request_that_is_turned_away_leaves_nothing(busy: Service) -> None:
    for number in range(7):
        await busy.accept(f"How {number}?", ANN)
    with pytest.raises(Busy):
        await busy.accept("One too many", ANN, request_id="refused")
    with pytest.raises(RunError) as raised:
        await busy.find(busy.run_id(ANN, "refused"), ANN)
    assert raised.value.code == "SG603"


@pytest.mark.slow
async def test_decisions_pass_the_same_door_as_requests(busy: Service) -> None:
    stand.let_go()
    waits = [await busy.ask(f"access {number}", ANN) for number in range(3)]
    (stand.home() / "go").unlink()
    await busy.accept("hold on again", ANN)
    lead = [await busy.accept_decision(run.run, "approve", LEAD) for run in waits[:2]]
    assert busy.inside == 3
    for number in range(6):
        await busy.accept(f"hold {number}", LEAD)
    with pytest.raises(Busy):
        await busy.accept_decision(waits[2].run, "approve", LEAD)
    stand.let_go()
    assert {(await each.outcome()).status for each in lead} == {"answered"}


class Counting:
    """Counts what is opened."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    def __call__(self, source: Any) -> Opened:
        opened = stand.version(source)
        self.opened.append(opened.workflow.version)
        return opened


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    """A workflow's file, to be changed."""
    shutil.copytree(stand.WORKFLOW, tmp_path / "copy")
    return tmp_path / "copy" / "workflow.yaml"


@pytest.mark.slow
async def test_nothing_is_opened_for_who_may_not_decide_and_what_was_opened_is_closed(flow: Path) -> None:
    text = flow.read_text()
    runs: list[str] = []
    for number in range(1, 8):
        flow.write_text(text.replace("version: 1", f"version: {number}"))
        async with stand.service(flow) as service:
            runs.append((await service.ask(f"access {number}", ANN)).run)
    flow.write_text(text.replace("version: 1", "version: 9"))
    counting = Counting()
    async with stand.service(flow, open_version=counting) as service:
        before = await fewest()
        for run in runs * 3:
            for how in ("kept", "migrate", "refuse"):
                with pytest.raises(RunError) as raised:
                    await service.decide(run, "approve", BEN, changed=how)  # type: ignore[arg-type]
                assert raised.value.code == "SG603"
                with pytest.raises(RunError) as raised:
                    await service.approval(run, BEN)
                assert raised.value.code == "SG603"
        assert counting.opened == ["9"]
        assert await fewest() <= before + SPARE
        # the list, and the evidence, are read from the records
        assert len(await service.approvals(LEAD)) == 7
        assert [(await service.approval(run, LEAD))["run"] for run in runs] == runs
        assert counting.opened == ["9"]
        # who may decide has what it takes opened, once, and closed when others are wanted
        for run in runs[:6]:
            with pytest.raises(RunError):
                await service.decide(run, "edit", LEAD, changed="kept")
        most = await fewest()
        for run in runs[:6] * 4:
            with pytest.raises(RunError):
                await service.decide(run, "edit", LEAD, changed="kept")
        assert await fewest() <= most + SPARE
        assert (await service.decide(runs[0], "approve", LEAD, changed="kept")).status == "answered"
        opened = len(counting.opened)
        # going on under the present version opens nothing
        assert (await service.decide(runs[1], "approve", LEAD, changed="migrate")).status == "answered"
        assert len(counting.opened) == opened


@pytest.mark.slow
async def test_a_version_in_use_is_not_closed(flow: Path) -> None:
    text = flow.read_text()
    digests: list[str] = []
    for number in range(1, 9):
        flow.write_text(text.replace("version: 1", f"version: {number}"))
        opened = stand.version(flow)
        digests.append(opened.workflow.digest)
        opened.close()
    versions = Versions(flow, open_version=stand.version)
    async with versions.using(digests[0]) as first:
        before = descriptors()
        for digest in digests * 2:
            async with versions.using(digest) as used:
                used.runner.unfinished("none")
        first.runner.unfinished("none")
        assert load(kept(digests[0])).digest == first.workflow.digest
        assert len(versions._open) <= 6
    assert descriptors() - before < 40
    versions.close()


@pytest.mark.slow
def test_a_workflow_that_is_closed_holds_no_file() -> None:
    config = stand.WORKFLOW / "workflow.yaml"
    # what is opened once for the process, such as the embeddings of this user
    open_workflow(config).close()
    before = descriptors()
    for _ in range(3):
        opened = open_workflow(config)
        assert descriptors() > before
        opened.close()
    assert descriptors() == before
