"""A database that another process holds: each store says so, and the run goes on when it is free."""

import fcntl
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from sluicegate.errors import RunError
from sluicegate.graphs.runtime.run import Runner
from sluicegate.observe.audit.verify import verify
from sluicegate.storage import sqlite
from tests.faults.desk import ANN, LEAD, REQUESTS, left_behind, runner


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setattr(sqlite, "PATIENCE_S", 0.1)
    return runner(tmp_path)


def held(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    return connection


@pytest.mark.slow
@pytest.mark.parametrize("store", ["checkpoints.sqlite", "ledger.sqlite", "tools.sqlite"])
async def test_a_run_stops_at_a_store_that_is_held_and_goes_on_later(made: Runner, tmp_path: Path, store: str) -> None:
    # once before, so that every store is there
    await made.run(REQUESTS["risky"], ANN, run="before")
    await made.decide("before", "approve", LEAD)
    other = held(tmp_path / store)
    with pytest.raises(RunError) as caught:
        await made.run(REQUESTS["risky"], ANN, run="risky")
    assert caught.value.code == "SG608"
    assert Path(store).name in str(caught.value), "the store that is held is named"
    other.execute("ROLLBACK")
    outcome = await made.run(REQUESTS["risky"], ANN, run="risky")
    assert outcome.waiting
    assert (await made.decide("risky", "approve", LEAD)).status == "answered"
    assert left_behind(tmp_path)["tickets"] == 2, "an order was lost or placed twice"
    assert verify(tmp_path / "audit").findings == ()


def test_a_new_file_that_another_process_is_writing_is_waited_for(tmp_path: Path) -> None:
    # SQLite itself does not wait to change the mode of a file
    other = sqlite3.connect(tmp_path / "new.sqlite", isolation_level=None, check_same_thread=False)
    other.executescript("BEGIN IMMEDIATE; CREATE TABLE writing (number INTEGER)")
    done = threading.Timer(0.05, other.execute, ["COMMIT"])
    done.start()
    with closing(sqlite.connect(tmp_path / "new.sqlite")) as connection:
        assert connection.execute("SELECT * FROM writing").fetchall() == []
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    done.join()


@pytest.mark.usefixtures("made")
def test_a_new_file_that_another_process_keeps_is_told(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "new.sqlite", isolation_level=None)
    other.executescript("BEGIN IMMEDIATE; CREATE TABLE writing (number INTEGER)")
    with pytest.raises(RunError) as caught:
        sqlite.connect(tmp_path / "new.sqlite")
    assert caught.value.code == "SG608"


async def test_a_decision_that_cannot_be_kept_is_not_taken(made: Runner, tmp_path: Path) -> None:
    assert (await made.run(REQUESTS["risky"], ANN, run="risky")).waiting
    other = held(tmp_path / "approvals.sqlite")
    with pytest.raises(RunError) as caught:
        await made.decide("risky", "approve", LEAD)
    assert caught.value.code == "SG608"
    assert "approvals.sqlite" in str(caught.value)
    other.execute("ROLLBACK")
    assert made.waiting("risky")
    assert (await made.decide("risky", "approve", LEAD)).status == "answered"


async def test_a_risky_request_stops_at_an_audit_log_that_is_held(made: Runner, tmp_path: Path) -> None:
    with (tmp_path / "audit" / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RunError) as caught:
            await made.run(REQUESTS["risky"], ANN, run="risky")
        assert caught.value.code == "SG608"
        assert "audit log" in str(caught.value)
    assert (await made.run(REQUESTS["risky"], ANN, run="risky")).waiting
    assert verify(tmp_path / "audit").findings == ()
