"""A run that waits for a time, and goes on in whatever process looks after it is due."""

import pytest

from sluicegate.errors import NotWaitingError
from sluicegate.graphs.session.checkpoint_reader import overdue
from tests.support.approving import later
from tests.support.redacting import ANN, LEA, Desk

TEXT = "My laptop does not start"
ON = ["recall", "facts", "answer", "check", "respond"]


@pytest.fixture
def desk(desk: Desk) -> Desk:
    text = desk.file.read_text(encoding="utf-8").replace("{otherwise: recall}", "{otherwise: later}")
    text = text.replace("\n  recall:", "\n  later: {kind: wait, for: 10m, then: recall}\n  recall:", 1)
    desk.file.write_text(text, encoding="utf-8")
    return desk


@pytest.mark.slow
async def test_it_goes_on_when_its_time_has_come(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = desk.opened().runner
    waits = await runner.run(TEXT, ANN)
    assert waits.status == "waiting"
    assert waits.waiting
    assert waits.waiting["waits_for"] == "time"
    # until then nothing makes it go on
    assert (await runner.resume(waits.run)).status == "waiting"
    assert overdue("desk", runner.services.now()) == []
    for verdict, person in (("approve", LEA), ("answer", ANN), ("timeout", ANN)):
        with pytest.raises(NotWaitingError, match="SG605"):
            await runner.decide(waits.run, verdict, person)

    later(monkeypatch, 0.2)
    late = desk.opened().runner
    assert [run["id"] for run in overdue("desk", late.services.now())] == [waits.run]
    done = await late.expire(waits.run)
    assert done.status == "answered"
    assert [entry["node"] for entry in done.state["trail"]] == ["classify", "gate", "later", *ON]
    assert done.state["trail"][2]["branch"]["reason"] == "the only way"
    assert overdue("desk", late.services.now()) == []


@pytest.mark.slow
async def test_a_run_that_is_resumed_after_its_time_goes_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = await desk.opened().runner.run(TEXT, ANN)
    later(monkeypatch, 0.2)
    assert (await desk.opened().runner.resume(waits.run)).status == "answered"


async def test_while_it_waits_its_conversation_goes_on(desk: Desk) -> None:
    runner = desk.opened().runner
    waits = await runner.run(TEXT, ANN, session="c")
    other = await runner.run("The printer hums", ANN, session="c")
    assert (waits.status, other.status) == ("waiting", "waiting")
    assert other.state["conversation"]["turn"] == 2
