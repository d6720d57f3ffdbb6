"""What ends the processes that carry it is found out, and given up; what was only there with it comes to its end."""

import asyncio
import signal
from contextlib import closing
from pathlib import Path

import pytest

from sluicegate.errors import GivenUpError, NodeFailedError, RunError
from sluicegate.graphs.runtime.intake import principal
from sluicegate.observe.tracing.storing.shared import open_store
from sluicegate.serving.execution.suspects import Solitude, Suspects
from sluicegate.serving.service import run_id
from sluicegate.storage.database import place as where
from tests.serving.execution.conftest import Carriers
from tests.support import stand
from tests.support.waiting import soon

ANN = principal("ann", ["employee"])
POISON, INNOCENT = "poison", [f"hold number {number}" for number in range(3)]


@pytest.fixture
def place(each_place: str) -> str:
    return each_place


@pytest.mark.slow
async def test_a_run_that_ends_each_process_is_given_up_and_those_beside_it_are_not(
    place: str, worker: Carriers, tmp_path: Path
) -> None:
    async def ends(name: str, *texts: str) -> None:
        # on a server each process is a machine of its own
        process = worker("home" if place == "home" else name, *texts)
        assert await asyncio.to_thread(process.wait) == -signal.SIGKILL

    await ends("first", POISON, *INNOCENT)
    await ends("second")
    # those that are held may go on, when it is their turn
    (tmp_path / "go").touch()
    for name in ("third", "fourth", "fifth"):
        await ends(name)
    worker("home" if place == "home" else "last")
    async with stand.service(work=False) as service:
        runs = {text: run_id(service.name, ANN, text) for text in (POISON, *INNOCENT)}
        await soon(lambda: Suspects(where()).of(runs[POISON]).given_up)
        for text in INNOCENT:
            assert (await service.ask(text, ANN, request_id=text)).status == "answered"
        with pytest.raises(RunError) as caught:
            await service.ask(POISON, ANN, request_id=POISON)
        assert caught.value.code == "SG683"
        # said on every machine, and traced by the one that gave it up
        outcome, row = await service.find(runs[POISON], ANN)
        assert outcome
        assert row["status"] == "failed"
        assert isinstance(row["failure"], GivenUpError)
        with closing(open_store()) as traces:
            about = "SELECT message FROM spans WHERE run_id = ? AND message LIKE ?"
            await soon(lambda: traces.query(about, (runs[POISON], "%SG683%")))
            [told] = traces.query(about, (runs[POISON], "%SG683%"))
            assert "given up" in told["message"]
            assert traces.run(runs[POISON])["status"] == "failed"


async def test_only_what_ends_a_process_alone_counts_against_a_run(place: str) -> None:
    suspects = Suspects(where())
    assert not suspects.left("run").suspect
    assert suspects.left("run").suspect
    for _ in range(5):
        # this process has survived it, whatever was raised
        with pytest.raises(NodeFailedError):
            async with suspects.tried("run"):
                raise NodeFailedError("it failed")
        assert suspects.of("run").alone == 0
    # what ends its process never comes to the end of the block
    ended = [suspects.tried("run") for _ in range(3)]
    for one in ended:
        assert not suspects.of("run").given_up
        await one.__aenter__()
    assert suspects.left("run").given_up
    suspects.ends("run")
    for one in ended:
        await one.__aexit__(None, None, None)
    assert suspects.of("run").times == 0
    suspects.close()


async def test_who_is_alone_waits_for_those_who_are_there_and_holds_up_those_who_come() -> None:
    solitude, said = Solitude(), list[str]()
    there, done = asyncio.Event(), asyncio.Event()

    async def beside(name: str, ends: asyncio.Event) -> None:
        async with solitude.beside():
            said.append(f"{name} begins")
            await ends.wait()
            said.append(f"{name} ends")

    async def alone(name: str) -> None:
        async with solitude.alone():
            said.append(f"{name} begins alone")
            await done.wait()
            said.append(f"{name} ends")

    tasks = [asyncio.create_task(work) for work in (beside("a", there), beside("b", there))]
    await asyncio.sleep(0)
    tasks += [asyncio.create_task(work) for work in (alone("x"), beside("c", there), alone("y"))]
    await asyncio.sleep(0.01)
    assert solitude.wanted
    there.set()
    await asyncio.sleep(0.01)
    assert said[-1] == "x begins alone"
    done.set()
    await asyncio.gather(*tasks)
    assert said == [
        "a begins", "b begins", "a ends", "b ends",
        "x begins alone", "x ends", "y begins alone", "y ends",
        "c begins", "c ends",
    ]  # fmt: skip
    assert not solitude.wanted


async def test_who_waits_to_be_alone_and_gives_up_holds_up_nobody() -> None:
    solitude = Solitude()
    async with solitude.beside():
        waits = asyncio.create_task(solitude.alone().__aenter__())
        await asyncio.sleep(0)
        assert solitude.wanted
        waits.cancel()
        await asyncio.wait({waits})
        assert not solitude.wanted
        async with asyncio.timeout(1), solitude.beside():
            pass
