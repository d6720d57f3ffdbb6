"""A machine whose disk takes nothing more leaves its runs to others, and to itself when it takes something again."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sluicegate import Limits, Service
from sluicegate.errors import UnwritableError
from sluicegate.graphs.runtime.intake import principal
from sluicegate.nodes.kinds.human_interrupt import HumanInterrupt
from sluicegate.serving.execution import disk
from sluicegate.serving.execution.carrier import Carrier
from sluicegate.storage.postgres import URL
from tests.serving.execution.conftest import Carriers, calls
from tests.support import flows, stand
from tests.support.waiting import soon

pytestmark = pytest.mark.slow

ANN = principal("ann", ["employee"])
FULL = "cannot write the audit log: No space left on device"


@pytest.fixture(autouse=True)
def shared(postgres: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(URL, postgres)
    monkeypatch.setenv("SLUICEGATE_HOME", str(tmp_path / "server"))
    monkeypatch.setattr(disk, "_PAUSE_S", 0.05)


@contextmanager
def full(monkeypatch: pytest.MonkeyPatch, what: str, times: int = 10**6) -> Iterator[list[str]]:
    """The first `times` that this process begins to `carry` or `expire` a run, its disk is full; which runs."""
    begun: list[str] = []
    as_ever = getattr(Carrier, what)

    async def begin(carrier: Carrier, segment: Any, *rest: Any) -> Any:
        begun.append(segment.run)
        if len(begun) <= times:
            raise UnwritableError(FULL)
        return await as_ever(carrier, segment, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Carrier, what, begin)
        yield begun


async def status_of(service: Service, run: str, wanted: str) -> str:
    """Wait for a status; the code that goes with it."""
    while True:
        _, row = await service.find(run, ANN)
        if row["status"] == wanted:
            return row["failure"].code if "failure" in row else ""
        await asyncio.sleep(0.02)


async def test_another_machine_goes_on(worker: Carriers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    worker("other")
    with full(monkeypatch, "carry"):
        monkeypatch.setattr(disk, "_write", lambda: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        async with stand.service(limits=Limits(drain_s=0)) as service:
            accepted = await service.accept("How?", ANN)
            with pytest.raises(UnwritableError, match="No space"):
                await accepted.outcome()
            assert await status_of(service, accepted.run, "answered") == ""
            # what comes now is not begun here
            assert (await service.ask("How again?", ANN)).status == "answered"
    assert len(calls(tmp_path)) == 2


async def test_the_same_machine_goes_on_when_there_is_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with full(monkeypatch, "carry", times=2) as begun:
        async with stand.service(limits=Limits(drain_s=0)) as service:
            accepted = await service.accept("How?", ANN)
            assert await status_of(service, accepted.run, "answered") == ""
    assert begun == [accepted.run] * 3


async def test_what_never_works_has_failed_and_can_be_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stand.service(limits=Limits(drain_s=0)) as service:
        with full(monkeypatch, "carry") as begun:
            accepted = await service.accept("How?", ANN, request_id="one")
            await soon(lambda: len(begun) == 3)
            assert await status_of(service, accepted.run, "failed") == "SG607"
        # its row is kept, for nothing else says that it failed
        await asyncio.to_thread(service.executor.engine.clean, 0.0)
        assert await status_of(service, accepted.run, "failed") == "SG607"
        assert (await service.ask("How?", ANN, request_id="one")).status == "answered"
        await asyncio.to_thread(service.executor.engine.clean, 0.0)
        assert await status_of(service, accepted.run, "answered") == ""


async def test_a_deadline_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(flows.SETTINGS, "approve", HumanInterrupt(approvers="role:helpdesk-lead", timeout=0.5))
    with full(monkeypatch, "expire", times=2) as begun:
        async with stand.service(limits=Limits(drain_s=0)) as service:
            waits = await service.ask("access please", ANN)
            assert await status_of(service, waits.run, "refused") == ""
    assert begun == [waits.run] * 3
