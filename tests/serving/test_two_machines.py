"""Services of two machines that share a server: one request is one run, and what one leaves the other ends."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluicegate import Limits, Service
from sluicegate.errors import RunError
from sluicegate.graphs.runtime.intake import principal
from sluicegate.serving.limits import Busy
from sluicegate.storage.postgres import URL
from tests.support import stand
from tests.support.waiting import soon

pytestmark = pytest.mark.slow

ANN, EVE, LEAD = principal("ann", ["employee"]), principal("eve", ["employee"]), principal("lea", ["helpdesk-lead"])


@pytest.fixture
def on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: str) -> Callable[[str], None]:
    """Go to a machine: a home of that name."""
    monkeypatch.setenv(URL, postgres)
    return lambda name: monkeypatch.setenv("SLUICEGATE_HOME", str(tmp_path / name))


def at_once(service: Service) -> int:
    models: Any = service.versions.serving.runner.services.models
    return models.at_once


async def test_what_one_began_the_other_shows_and_ends(on: Callable[[str], None]) -> None:
    on("a")
    async with stand.service() as a:
        answered = await a.ask("How?", ANN, request_id="one")
        waits = await a.ask("access to it", ANN, request_id="two")
    assert (answered.status, waits.status) == ("answered", "waiting")
    on("b")
    async with stand.service() as b:
        assert (await b.ask("How?", ANN, request_id="one")).text == answered.text
        assert (await b.ask("access to it", ANN, request_id="two")).waiting
        with pytest.raises(RunError) as caught:
            await b.ask("Something else", ANN, request_id="two")
        assert caught.value.code == "SG621"
        found, row = await b.find(waits.run, ANN)
        assert found
        assert (found.status, row["status"]) == ("waiting", "waiting")
        with pytest.raises(RunError) as caught:
            await b.find(waits.run, EVE)
        assert caught.value.code == "SG603", "who may not see it does not learn that it exists"
        (listed,) = await b.approvals(LEAD)
        assert listed["run"] == waits.run
        assert (await b.approval(waits.run, LEAD))["draft"] == listed["draft"]
        assert (await b.decide(waits.run, "approve", LEAD)).status == "answered"
    on("a")
    async with stand.service() as a:
        # its own row still says that it waits
        found, row = await a.find(waits.run, ANN)
        assert found
        assert (found.status, row["status"]) == ("answered", "answered")
        assert await a.approvals(LEAD) == []
        with pytest.raises(RunError) as caught:
            await a.decide(waits.run, "reject", LEAD)
        assert caught.value.code == "SG605"


async def test_what_a_closed_service_left_is_taken_up_by_the_other(on: Callable[[str], None]) -> None:
    on("a")
    a = stand.service(limits=Limits(drain_s=0.1))
    await a.open()
    asking = asyncio.create_task(a.ask("hold", ANN, request_id="long"))
    await soon(lambda: at_once(a))
    await a.close()
    with pytest.raises(Busy):
        await asking
    on("b")
    stand.let_go()
    async with stand.service() as b:
        status = ""
        while status != "answered":
            await asyncio.sleep(0.05)
            found, _ = await b.find(b.run_id(ANN, "long"), ANN)
            status = found.status if found else ""


async def test_a_run_at_work_elsewhere_is_not_taken_up(on: Callable[[str], None]) -> None:
    on("a")
    async with stand.service() as a:
        asking = asyncio.create_task(a.ask("hold", ANN, request_id="long"))
        await soon(lambda: at_once(a))
        on("b")
        async with stand.service() as b:
            # the same request, asked here, waits for the answer of there
            again = asyncio.create_task(b.ask("hold", ANN, request_id="long"))
            await soon(lambda: b.inside == 1)
            on("a")
            stand.let_go()
            assert (await again).text == (await asking).text
            assert b.versions.serving.runner.services.models.asked == []  # type: ignore[attr-defined]
