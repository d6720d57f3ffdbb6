"""What every executor promises, on each of them: files of a home, and DBOS on a server that machines share."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sluicegate import Limits, Service
from sluicegate.errors import NodeFailedError, NotWaitingError, RunError
from sluicegate.graphs.runtime.intake import principal
from sluicegate.nodes.kinds.human_interrupt import HumanInterrupt
from sluicegate.serving.limits import Busy
from tests.support import flows, stand
from tests.support.waiting import soon

ANN, LEAD = principal("ann", ["employee"]), principal("lea", ["helpdesk-lead"])


@pytest.fixture(autouse=True)
def place(each_place: str) -> str:
    return each_place


@pytest.fixture
async def desk(place: str) -> AsyncIterator[Service]:
    async with stand.service(limits=Limits(drain_s=0)) as service:
        yield service


def models(service: Service) -> Any:
    return service.versions.serving.runner.services.models


async def test_a_request_is_carried_once_however_often_it_is_sent(desk: Service) -> None:
    one, other = await asyncio.gather(*(desk.ask("How?", ANN, request_id="one") for _ in range(2)))
    later = await desk.ask("How?", ANN, request_id="one")
    assert one.run == other.run == later.run
    assert {each.status for each in (one, other, later)} == {"answered"}
    assert len(models(desk).asked) == 1


async def test_steps_and_pieces_are_told_while_it_is_carried(desk: Service) -> None:
    steps: list[str] = []
    outcome = await desk.ask("How?", ANN, on_step=lambda step: steps.append(step["node"]))
    assert steps == [entry["node"] for entry in outcome.state["trail"]]


async def test_a_decision_is_carried_and_one_that_may_not_be_made_promises_nothing(desk: Service) -> None:
    waits = await desk.ask("access please", ANN)
    assert waits.waiting
    with pytest.raises(RunError):
        await desk.decide(waits.run, "edit", LEAD)
    done = await desk.decide(waits.run, "approve", LEAD)
    assert (done.status, done.state["approval"]["by"]) == ("answered", "lea")
    with pytest.raises(NotWaitingError):
        await desk.decide(waits.run, "approve", LEAD)


@pytest.mark.slow
async def test_what_failed_is_told_and_goes_on_when_it_is_sent_again(place: str) -> None:
    async with stand.service(open_version=stand.broken) as service:
        with pytest.raises(NodeFailedError, match="the words of ann"):
            await service.ask("How?", ANN, request_id="one")
    async with stand.service() as service:
        assert (await service.ask("How?", ANN, request_id="one")).status == "answered"


@pytest.mark.slow
async def test_what_a_closing_service_cuts_short_the_next_one_ends(place: str) -> None:
    service = stand.service(limits=Limits(drain_s=0.05))
    await service.open()
    held = await service.accept("hold on", ANN, request_id="held")
    await soon(lambda: models(service).at_once)
    await service.close()
    with pytest.raises(Busy):
        await held.outcome()
    stand.let_go()
    async with stand.service() as after:
        status = ""
        while status != "answered":
            found, _ = await after.find(held.run, ANN)
            status = found.status if found else ""
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_what_nobody_decides_on_is_refused_at_its_deadline(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    soon_late = HumanInterrupt(approvers="role:helpdesk-lead", timeout=1.0)
    monkeypatch.setitem(flows.SETTINGS, "approve", soon_late)
    async with stand.service() as service:
        waits = await service.ask("access please", ANN)
        assert waits.waiting
        await asyncio.sleep(1.1)
    async with stand.service() as service:
        status = ""
        while status != "refused":
            found, _ = await service.find(waits.run, ANN)
            status = found.status if found else ""
            await asyncio.sleep(0.02)
