"""A clock that jumps back a day through whole runs: leases, deadlines, caches, periods and the log fail closed."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from langgraph.checkpoint.base import id as checkpoint_ids

from sluicegate.errors import RunError
from sluicegate.graphs.runtime.checkpoints import open_checkpoints
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.graphs.runtime.run import Runner
from sluicegate.observe.audit.proof import records
from sluicegate.observe.audit.verify import verify
from tests.faults.desk import ANN, LEAD, REQUESTS, runner

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass
class Clock:
    at: datetime = NOON

    def __call__(self) -> datetime:
        return self.at

    def seconds(self) -> float:
        return self.at.timestamp()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def made(tmp_path: Path, clock: Clock) -> Runner:
    return runner(tmp_path, clock=clock)


def calls(home: Path) -> int:
    path = home / "calls"
    return len(path.read_bytes()) if path.exists() else 0


async def asked(made: Runner, name: str, text: str = REQUESTS["plain"]) -> Outcome:
    return await made.run(text, ANN, run=name)


async def test_a_run_goes_on_from_where_a_machine_with_a_clock_ahead_has_left_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=5)):
        ahead = runner(tmp_path)
        await ahead.write_down(ahead.opening(REQUESTS["plain"], ANN, run="plain"))
    # another process, which has made no id yet
    monkeypatch.setattr(checkpoint_ids, "_last_v6_timestamp", None)
    outcome = await runner(tmp_path).resume("plain")
    state = open_checkpoints(tmp_path).state("plain")
    assert state
    assert (outcome.status, state["run"]["status"]) == ("answered", "answered"), "the last step counts as the first"


async def test_no_call_is_paid_for_in_a_day_that_is_over(made: Runner, clock: Clock, tmp_path: Path) -> None:
    await asked(made, "before")
    paid = calls(tmp_path)
    clock.at = NOON - DAY
    outcome = await asked(made, "during", "How do I reset my password, please?")
    assert calls(tmp_path) == paid, "yesterday's budget was opened again"
    assert outcome.status != "answered"
    spend: Any = outcome.state.get("spend")
    assert spend["stopped"]
    assert "the clock was set back" in spend["stopped_by"]
    clock.at = NOON + timedelta(minutes=1)
    assert (await asked(made, "after", "How do I reset my password, then?")).status == "answered"


async def test_an_answer_from_the_future_is_not_served(made: Runner, clock: Clock) -> None:
    await asked(made, "before")
    assert (await asked(made, "soon")).state["cache"]["hit"]
    clock.at = NOON - DAY
    assert not (await asked(made, "during")).state["cache"]["hit"]


async def test_nobody_decides_on_what_has_waited_for_an_unknown_time(made: Runner, clock: Clock) -> None:
    waiting = await asked(made, "risky", REQUESTS["risky"])
    assert waiting.waiting is not None
    clock.at = NOON - DAY
    for act in (made.decide("risky", "approve", LEAD), made.expire("risky")):
        with pytest.raises(RunError) as caught:
            await act
        assert caught.value.code == "SG605"
    assert made.waiting("risky"), "it waits as before"
    # a step that time servers make harms nobody
    clock.at = NOON - timedelta(seconds=30)
    assert (await made.decide("risky", "approve", LEAD)).status == "answered"


async def test_silence_still_refuses_when_the_clock_is_right_again(made: Runner, clock: Clock) -> None:
    await asked(made, "risky", REQUESTS["risky"])
    clock.at = NOON - DAY
    await asked(made, "during")
    clock.at = NOON + DAY
    with pytest.raises(RunError, match="was refused at its deadline"):
        await made.decide("risky", "approve", LEAD)


async def test_the_log_keeps_its_order(made: Runner, clock: Clock, tmp_path: Path) -> None:
    await asked(made, "before")
    clock.at = NOON - DAY
    await asked(made, "during")
    clock.at = NOON + timedelta(minutes=1)
    await asked(made, "after")
    verdict = verify(tmp_path / "audit")
    assert verdict.findings == ()
    written = [(body["seq"], body.get("run")) for body, _, _ in records(tmp_path / "audit")]
    assert [seq for seq, _ in written] == list(range(1, len(written) + 1))
    runs = [run for _, run in written if run]
    assert list(dict.fromkeys(runs)) == ["before", "during", "after"], "order is by sequence, whatever the times say"


async def test_a_lease_neither_ends_early_nor_is_lost(made: Runner, clock: Clock) -> None:
    ledger: Any = made.services.ledger
    held = await ledger.reserve(run="r", principal="ann", intent="i", workflow="test", model="m", usd=0.5, tokens=1)
    clock.at = NOON - DAY
    assert ledger.caps("test")[0].held == 0.5
    clock.at = NOON + timedelta(seconds=1)
    await ledger.settle(held, usd=0.25, tokens=1)
    assert (ledger.caps("test")[0].held, ledger.caps("test")[0].spent) == (0.0, 0.25)
